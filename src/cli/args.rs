//! What may be written on the command line.

use std::path::PathBuf;

use chrono::DateTime;
use chrono::Utc;
use clap::Args;
use clap::Parser;
use clap::Subcommand;
use clap::ValueEnum;
use clap_complete::Shell;

use crate::server::wire::Right;

/// Keeps the user lists of many systems equal to one declared list.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "rosterd",
    version,
    about,
    arg_required_else_help = true,
    after_help = "Exit codes: 0 done, 1 error, 2 `plan --detailed-exitcode` found changes, 3 a limit, a shrink or \
                  first contact held something, or an end of access is owed or not confirmed, 4 parts of a saved plan \
                  no longer follow."
)]
pub struct Arguments {
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What holds for every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options for every command")]
pub struct Global {
    /// Configuration (`rosterd.yaml`); without one rosterd runs for trying out
    #[arg(long, global = true, env = "ROSTERD_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address of a running daemon; its token is taken from `ROSTERD_TOKEN`
    #[arg(long, global = true, env = "ROSTERD_SERVER", value_name = "URL")]
    pub server: Option<String>,
    /// Form of the answer on standard output
    #[arg(long, global = true, value_enum, default_value_t = Form::Text)]
    pub output: Form,
    /// Form of the log on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// For people
    Text,
    /// For programs
    Json,
    /// For pull requests
    Markdown,
    /// Annotations of GitHub (`validate` only)
    Github,
    /// Code quality report of GitLab (`validate` only)
    Gitlab,
    /// SARIF 2.1.0 (`validate` only)
    Sarif,
}

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// Every command.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the daemon: keep every target equal to the manifests
    Run(Folder),
    /// Check manifests: every problem, located
    Validate(Folder),
    /// Show what would change, and write nothing
    Plan(PlanArguments),
    /// Run one cycle now
    Apply(ApplyArguments),
    /// Run a cycle now in the running daemon
    Sync(SyncArguments),
    /// Health of the source and of every target
    Status {
        /// Only this target
        target: Option<String>,
    },
    /// The targets, with their schedules
    Targets,
    /// The accounts of a target, as they were last seen
    Accounts(AccountsArguments),
    /// Why an account looks as it does, or is missing
    Explain {
        /// Record id of the user (`metadata.name`)
        user: String,
        /// Only this target
        #[arg(long)]
        target: Option<String>,
        /// What a change would do: `active=false`, `role+=NAME`, `role-=NAME`, `validFrom=TIME`,
        /// `validUntil=TIME` (several with `,` between them), `gone`, or a whole `User` document
        #[arg(long = "if", value_name = "CHANGE")]
        change: Option<String>,
    },
    /// The cycles that ran, newest first
    History {
        /// Only this target
        target: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// What was done and decided, by whom
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Removals of access that are due and not confirmed
    Owed,
    /// Stop the cycles of a target until `resume`
    Suspend {
        /// The target
        target: String,
        /// Why, for the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let a target go on that is suspended or in quarantine
    Resume {
        /// The target
        target: String,
        /// Why, for the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// End the access of users in every target, whatever the manifests say
    Revoke {
        /// Record ids of the users (`metadata.name`)
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
        /// Without asking: somebody has decided
        #[arg(long)]
        yes: bool,
        /// When it ends by itself: a moment (`2027-03-31T18:00:00Z`) or a time from now (`14d`)
        #[arg(long, value_name = "TIME")]
        until: Option<String>,
        /// Why, for the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Give back an account that another hand disabled, suspended or deleted
    Regain {
        /// Record id of the user
        user: String,
        /// The target; needed where there are several
        #[arg(long)]
        target: Option<String>,
        /// Why, for the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take revocations back
    Restore {
        /// Record ids of the users
        #[arg(required = true, value_name = "USER")]
        users: Vec<String>,
        /// Why, for the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Look where a user has access now, and sign what was found
    Receipt {
        /// Record id of the user
        #[arg(required_unless_present = "verify")]
        user: Option<String>,
        /// Check a receipt that `--output json` gave
        #[arg(long, value_name = "FILE", conflicts_with = "user")]
        verify: Option<PathBuf>,
    },
    /// Halt every call in every target until `start`
    Stop {
        /// Halt only what gives access or updates: removals go on
        #[arg(long, conflicts_with = "all")]
        widening: bool,
        /// Halt removals as well, which are owed then; as without `--widening`
        #[arg(long)]
        all: bool,
        /// Why: everybody who finds calls halted asks
        #[arg(long)]
        reason: String,
    },
    /// Let calls leave again after `stop`
    Start {
        /// Why, for the audit log
        #[arg(long)]
        reason: String,
    },
    /// Link a user to an account that exists
    Link {
        /// Record id of the user
        user: String,
        /// The target's id of the account, or its user name
        account: String,
        /// The target; needed where there are several
        #[arg(long)]
        target: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Let rosterd write to a target that it met for the first time
    Enforce {
        /// The target
        target: String,
        /// The digest that `plan` or `status` showed
        digest: String,
    },
    /// Accept manifests that take away more than `maxShrink`
    AcceptShrink {
        /// The digest that `status` showed
        digest: String,
    },
    /// Say that the machine's clock is right, though something speaks against it
    TrustClock {
        /// Why, for the audit log
        #[arg(long)]
        reason: Option<String>,
    },
    /// Take back what a cycle did, as far as the manifests do not ask for it
    Undo {
        /// Id of the cycle (`rosterd history`)
        cycle: String,
        /// Why, for the audit log
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask
        #[arg(long, short = 'y')]
        yes: bool,
    },
    /// Changes that a limit holds
    #[command(subcommand)]
    Holds(HoldsCommand),
    /// What waits for a person's decision
    #[command(subcommand)]
    Requests(RequestsCommand),
    /// How people of new accounts get in
    #[command(subcommand)]
    Invites(InvitesCommand),
    /// Move what is remembered, to a file and from one
    #[command(subcommand)]
    Store(StoreCommand),
    /// Tokens of the API
    #[command(subcommand)]
    Tokens(TokensCommand),
    /// Ask a daemon whether it is ready
    Healthcheck,
    /// The JSON Schema of documents
    Schema {
        /// `User`, `Role`, `Target`, `TargetDefaults`, `Exception`, `Template`, `Decision`; all of them where none is given
        kind: Option<String>,
    },
    /// A completion script for a shell
    Completion {
        /// The shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// Where manifests are.
#[derive(Clone, Debug, Args)]
pub struct Folder {
    /// Folder of manifests
    #[arg(short = 'f', long = "folder", value_name = "DIR")]
    pub folder: Option<PathBuf>,
}

/// `plan`
#[derive(Clone, Debug, Args)]
pub struct PlanArguments {
    /// Where manifests are.
    #[command(flatten)]
    pub folder: Folder,
    /// Only this target
    #[arg(long)]
    pub target: Option<String>,
    /// Only this user
    #[arg(long)]
    pub user: Option<String>,
    /// Plan as it would be at this moment (`2027-03-31T18:00:00Z`): what begins and ends until then
    #[arg(long, value_name = "TIME")]
    pub at: Option<DateTime<Utc>>,
    /// Save the plan, for `apply FILE`
    #[arg(long, value_name = "FILE", conflicts_with = "at")]
    pub out: Option<PathBuf>,
    /// Show personal values in markdown, too
    #[arg(long)]
    pub show_personal: bool,
    /// Exit with 2 where there are changes
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `apply`
#[derive(Clone, Debug, Args)]
pub struct ApplyArguments {
    /// A plan saved by `plan --out`
    #[arg(value_name = "PLANFILE")]
    pub plan: Option<PathBuf>,
    /// Where manifests are.
    #[command(flatten)]
    pub folder: Folder,
    /// Only this target
    #[arg(long)]
    pub target: Option<String>,
    /// Only this user
    #[arg(long)]
    pub user: Option<String>,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub yes: bool,
}

/// `sync`
#[derive(Clone, Debug, Args)]
pub struct SyncArguments {
    /// Only this target
    pub target: Option<String>,
    /// Only this user
    #[arg(long)]
    pub user: Option<String>,
}

/// `accounts`
#[derive(Clone, Debug, Args)]
pub struct AccountsArguments {
    /// The target
    pub target: String,
    /// Which of them
    #[arg(long, value_enum, default_value_t = AccountList::All)]
    pub state: AccountList,
}

/// Which accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AccountList {
    /// Every account
    All,
    /// Those that give access
    Active,
    /// Those that do not
    Inactive,
    /// Those that rosterd owns and whose users nobody declares any more
    Orphans,
    /// Those that were never rosterd's
    Unmanaged,
}

/// `audit`
#[derive(Clone, Debug, Subcommand)]
pub enum AuditCommand {
    /// The newest events
    Tail {
        /// Only this target's chain
        #[arg(long)]
        target: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Events that match
    Search {
        /// Words to look for in kind, actor, user and details
        words: Vec<String>,
        /// Only this target's chain
        #[arg(long)]
        target: Option<String>,
        /// Only events about this user
        #[arg(long)]
        user: Option<String>,
    },
    /// Recompute every chain and check its signed head
    Verify,
}

/// `holds`
#[derive(Clone, Debug, Subcommand)]
pub enum HoldsCommand {
    /// What is held, and the command that releases it
    List,
    /// Let held changes through, for the digest that was shown
    Release {
        /// The digest that `holds list` showed
        digest: String,
        /// Why, for the audit log
        #[arg(long)]
        reason: Option<String>,
    },
}

/// `requests`
#[derive(Clone, Debug, Subcommand)]
pub enum RequestsCommand {
    /// What waits, oldest first, with what is worth a look before deciding
    List {
        /// Only this target
        #[arg(long)]
        target: Option<String>,
        /// Only of users with this label: `folder=acme`
        #[arg(long, value_name = "LABEL=VALUE")]
        label: Option<String>,
        /// Only of this user
        #[arg(long)]
        user: Option<String>,
        /// Which of them
        #[arg(long, value_enum, default_value_t = RequestList::Pending)]
        state: RequestList,
    },
    /// Let what was shown be done
    Accept(DecideArguments),
    /// Let it not be done, until somebody reopens it
    Refuse(DecideArguments),
    /// Let what was refused, or expired, be decided anew
    Reopen(DecideArguments),
    /// Write a signed `Decision` document about one request, for those who decide by files
    Sign(SignArguments),
}

/// Which requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RequestList {
    /// Every request
    All,
    /// Those that wait
    Pending,
    /// Those that were accepted
    Accepted,
    /// Those that were refused
    Refused,
    /// Those about which nobody decided in time
    Expired,
}

/// `requests sign`
#[derive(Clone, Debug, Args)]
pub struct SignArguments {
    /// The request, as `requests list` names it
    pub request: String,
    /// What is said
    #[arg(long, value_enum)]
    pub decision: SignedWord,
    /// Who says it, as `decisionsFrom.keys` names them
    #[arg(long)]
    pub by: String,
    /// Why; a refusal demands it
    #[arg(long)]
    pub reason: Option<String>,
    /// The key that `ssh-keygen` signs by: a file, or the public one of a key that an agent holds
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
}

/// What a signed decision says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SignedWord {
    /// It may be done
    Accept,
    /// It may not
    Refuse,
}

/// `requests accept`, `refuse` and `reopen`
#[derive(Clone, Debug, Args)]
pub struct DecideArguments {
    /// The requests, as `requests list` names them
    #[arg(required_unless_present = "label", value_name = "REQUEST")]
    pub requests: Vec<String>,
    /// Every request of users with this label that can be decided so: `folder=acme`
    #[arg(long, value_name = "LABEL=VALUE", conflicts_with = "requests")]
    pub label: Option<String>,
    /// Only of this target, with `--label`
    #[arg(long, requires = "label")]
    pub target: Option<String>,
    /// Why; a refusal demands it
    #[arg(long)]
    pub reason: Option<String>,
}

/// `invites`
#[derive(Clone, Debug, Subcommand)]
pub enum InvitesCommand {
    /// Who was invited, and how far that got
    List {
        /// Only this target
        #[arg(long)]
        target: Option<String>,
        /// Only these: `held`, `sent`, `accepted`, `expired`, `revoked`, `void`, `told`
        #[arg(long)]
        state: Option<String>,
    },
    /// Send the invites of one or many again, each with a fresh link
    Resend {
        /// The target
        target: String,
        /// Record ids of the users
        #[arg(required_unless_present = "expired")]
        users: Vec<String>,
        /// All whose link ran out
        #[arg(long, conflicts_with = "users")]
        expired: bool,
    },
}

/// `tokens`
#[derive(Clone, Debug, Subcommand)]
pub enum TokensCommand {
    /// Make a token; its secret is printed once
    Create {
        /// Its name
        name: String,
        /// Whom it stands for; its name where it is not given
        #[arg(long)]
        subject: Option<String>,
        /// What it may do: `viewer`, `approver`, `operator` or `admin`
        #[arg(long)]
        right: Right,
        /// A group of approvers that its holder is in
        #[arg(long)]
        group: Vec<String>,
        /// Decides only about users with this label: `folder=acme`
        #[arg(long, value_name = "LABEL=VALUE")]
        label: Vec<String>,
        /// Only for these targets
        #[arg(long)]
        target: Vec<String>,
        /// When it ends: `24h`, `90d`
        #[arg(long, default_value = "90d", value_name = "TIME")]
        expires: String,
    },
    /// Every token, without its secret
    List,
    /// End a token
    Revoke {
        /// Its name
        name: String,
    },
}

/// Moving a store.
#[derive(Clone, Debug, Subcommand)]
pub enum StoreCommand {
    /// Write everything that is remembered to a new, sealed file
    Export {
        /// The file to write
        file: PathBuf,
    },
    /// Take everything from such a file into an empty store
    Import {
        /// The file to read
        file: PathBuf,
    },
}
