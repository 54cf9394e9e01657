use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::model::account::Account;
use crate::model::account::AccountState;
use crate::model::origin::Origin;
use crate::model::path::AttributePath;
use crate::model::user::Login;
use crate::model::user::User;
use crate::model::user::Validity;

fn ada() -> User {
    User {
        id: "u-1".into(),
        formerly: Vec::new(),
        labels: BTreeMap::from([("cost-center".to_owned(), "c17".to_owned())]),
        given_name: Some("Ada".into()),
        family_name: Some("Lovelace".into()),
        email: Some("ada@acme.example".into()),
        time_zone: None,
        locale: Some(String::new()),
        user_type: Some("employee".into()),
        active: true,
        valid: Validity::default(),
        login: Login::Sso,
        roles: Vec::new(),
        teams: ["credit", "sales"].map(str::to_owned).into(),
        manager: None,
        attributes: BTreeMap::from([
            ("limit".to_owned(), json!(5000)),
            ("tags".to_owned(), json!(["a", "b"])),
            ("none".to_owned(), json!(null)),
        ]),
        origin: Origin { file: "u.yaml".into(), line: 1, what: "User u-1".into() },
        lines: BTreeMap::new(),
    }
}

fn render(source: &str) -> Option<Json> {
    let template = Template::compile(source, &Names::mapping()).unwrap_or_else(|error| panic!("{source}: {error}"));
    let user = ada();
    template.render(&Context::of_user(&user)).unwrap()
}

fn holds(source: &str) -> bool {
    let condition = Condition::compile(source, &Names::user()).unwrap_or_else(|error| panic!("{source}: {error}"));
    condition.holds(&Context::of_user(&ada())).unwrap()
}

fn refused(source: &str) -> String {
    match Template::compile(source, &Names::mapping()) {
        Ok(_) => panic!("{source} was taken"),
        Err(error) => format!("{} | {}", error.message, error.hint.unwrap_or_default()),
    }
}

#[test]
fn a_bare_expression_keeps_the_kind_of_its_value_and_anything_else_is_text() {
    assert_eq!(render("{{ user.attributes.limit }}"), Some(json!(5000)));
    assert_eq!(render("{{ user.attributes.tags }}"), Some(json!(["a", "b"])));
    assert_eq!(render("{{ user.active }}"), Some(json!(true)));
    assert_eq!(render("{{ user.attributes.limit + 1 }}"), Some(json!(5001)));
    assert_eq!(render("up to {{ user.attributes.limit }}"), Some(json!("up to 5000")));
    assert_eq!(render("{{ user.givenName }} {{ user.familyName }}"), Some(json!("Ada Lovelace")));
    assert_eq!(render("fixed"), Some(json!("fixed")));
    assert_eq!(render("{{ user.teams | join(', ') }}"), Some(json!("credit, sales")));
}

#[test]
fn an_absent_null_or_empty_input_leaves_no_value() {
    for source in [
        "{{ user.timeZone }}",
        "{{ user.locale }}",
        "{{ user.attributes.none }}",
        "{{ user.attributes.nothing }}",
        "zone {{ user.timeZone }}",
        "{{ user.givenName ~ user.timeZone }}",
        "{{ user.timeZone | lower | replace('/', '-') }}",
        "{{ [user.givenName, user.timeZone] | join(' ') }}",
        "{{ 'x' if user.timeZone == 'UTC' else 'y' }}",
        "{{ user.timeZone or 'UTC' }}",
        "{{ user.labels.site }}",
        "",
        "{{ '' }}",
        "{{ user.attributes.tags[7] }}",
    ] {
        assert_eq!(render(source), None, "{source}");
    }
}

#[test]
fn default_answers_for_an_absent_input_and_for_that_one_only() {
    assert_eq!(render("{{ user.timeZone | default('UTC') }}"), Some(json!("UTC")));
    assert_eq!(render("{{ user.timeZone | lower | default('UTC') }}"), Some(json!("UTC")));
    assert_eq!(render("{{ user.attributes.nick | default(user.givenName) }}"), Some(json!("Ada")));
    assert_eq!(render("{{ user.givenName | default(user.attributes.nick) }}"), Some(json!("Ada")));
    assert_eq!(render("{{ user.attributes.nick | default(user.timeZone) }}"), None);
    assert_eq!(render("{{ user.timeZone ~ (user.timeZone | default('UTC')) }}"), None);
    assert_eq!(render("{{ user.timeZone ~ (user.attributes.tags[7] | default('x')) }}"), None);
    assert_eq!(render("{{ user.attributes.tags[7] | default('x') }}"), Some(json!("x")));
    assert_eq!(render("{{ user.timeZone if user.timeZone is defined else 'none' }}"), Some(json!("none")));
}

#[test]
fn a_branch_that_is_not_taken_reads_nothing() {
    assert_eq!(render("{{ user.email if user.active else user.timeZone }}"), Some(json!("ada@acme.example")));
}

#[test]
fn filters_work_on_text() {
    assert_eq!(render("{{ user.email | upper }}"), Some(json!("ADA@ACME.EXAMPLE")));
    assert_eq!(render("{{ user.email | split('@') | first }}"), Some(json!("ada")));
    assert_eq!(render("{{ user.email | split('@') | last | title }}"), Some(json!("Acme.Example")));
    assert_eq!(render("{{ ' jean-luc ' | trim | title }}"), Some(json!("Jean-Luc")));
    assert_eq!(render("{{ 'ÉLODIE' | capitalize }}"), Some(json!("Élodie")));
    assert_eq!(render("{{ 'Ørsted Łódź Straße' | ascii | lower }}"), Some(json!("orsted lodz strasse")));
    assert_eq!(render("{{ user.teams | length }}"), Some(json!(2)));
}

#[test]
fn labels_whose_names_are_no_words_are_read_in_brackets() {
    assert_eq!(render("{{ user.labels['cost-center'] }}"), Some(json!("c17")));
    assert_eq!(render("{{ user.labels['cost-center'] | upper }}"), Some(json!("C17")));
    assert_eq!(render("{{ user.labels['other'] }}"), None);
    let template = Template::compile("{{ user.labels['cost-center'] }}", &Names::mapping()).unwrap();
    assert_eq!(template.references().iter().collect::<Vec<_>>(), ["user.labels.cost-center"]);
}

#[test]
fn unknown_names_are_refused_with_the_one_that_was_meant() {
    for (source, expected) in [
        ("{{ user.emial }}", "unknown field `user.emial` | did you mean `user.email`?"),
        ("{{ usr.email }}", "unknown variable `usr` | did you mean `user`?"),
        ("{{ user.email | lowr }}", "unknown filter `lowr` | did you mean `lower`?"),
        ("{{ 1 if user.email is endswith('x') else 2 }}", "unknown test `endswith`"),
        ("{{ user.email if user.active else user.phone | foo }}", "unknown filter `foo`"),
        ("{{ user.costCenter }}", "`user.attributes.costCenter`"),
        ("{{ account.id }}", "unknown variable `account`"),
        ("{{ user }}", "`user` is not one value"),
        ("{{ user.labels }}", "name a field of it: `user.labels.site`"),
        ("{{ 'x' in user.labels }}", "`user.labels` is not one value"),
        ("{{ user.email.local }}", "`user.email` has no field `local`"),
        ("{{ user.attributes.a.b }}", "`user.attributes.a` has no field `b`"),
        ("{{ grant.level }}", "unknown field `grant.level`"),
    ] {
        let found = refused(source);
        assert!(found.contains(expected), "{source}: {found}");
    }
}

#[test]
fn whatever_is_not_in_the_language_is_refused() {
    for source in [
        "{% if user.active %}x{% endif %}",
        "{{ range(10) }}",
        "{{ user.attributes.tags * 999999999 }}",
        "{{ 3*33333332*[3333333333333] }}",
        "{{ 2 ** 9 }}",
        "{{ user.email.upper() }}",
        "{{ 'a'.upper() }}",
        "{{ (user.email)(1) }}",
        "{{ user.email",
        "{{ user.email }",
        "{{ user.email | }}",
        "{{ }}",
        "{{- user.email -}}",
        "{# note #}",
        "{{ user.teams | upper }}",
        "x{{ user.teams }}",
        "{{ {'a': 1} }}",
        "{{ user.givenName + 1 }}",
        "{{ 'aaaa' * 100000 }}",
    ] {
        refused(source);
    }
    refused(&"x".repeat(5000));
}

#[test]
fn an_error_says_where_in_the_template() {
    let error = Template::compile("é {{ user.givenName }} {{ user.emial }}", &Names::mapping()).unwrap_err();
    assert_eq!(error.offset, "é {{ user.givenName }} {{ user.emial }}".find("user.emial"));
    let error = Template::compile("{{ user.email | lowr }}", &Names::mapping()).unwrap_err();
    assert_eq!(error.offset, Some(16));
}

#[test]
fn braces_inside_strings_and_maps_do_not_end_an_expression() {
    assert_eq!(render("{{ '}}' }}"), Some(json!("}}")));
    assert_eq!(render("{{ {'employee': 'E'}[user.userType] }}"), Some(json!("E")));
}

#[test]
fn conditions_hold_or_not() {
    assert!(holds("user.email is endingwith('@acme.example')"));
    assert!(!holds("user.email is endingwith('@other.example')"));
    assert!(holds("user.userType == 'employee' and user.active"));
    assert!(holds("user.userType in ['employee', 'contractor']"));
    assert!(holds("'credit' in user.teams and user.teams is containing('sales')"));
    assert!(holds("user.email is not startingwith('root')"));
    assert!(holds("user.attributes.limit > 1000"));
    assert!(holds("not (user.userType == 'candidate')"));
}

#[test]
fn an_absent_input_equals_nothing_and_is_neither_more_nor_less() {
    assert!(!holds("user.timeZone == 'UTC'"));
    assert!(holds("user.timeZone != 'UTC'"));
    assert!(!holds("user.timeZone is endingwith('x')"));
    assert!(!holds("user.attributes.rank < 3"));
    assert!(!holds("user.attributes.rank > 3"));
    assert!(!holds("not (user.attributes.rank > 3)"));
    assert!(!holds("'x' in user.attributes.groups"));
    assert!(!holds("user.attributes.contractor"));
    assert!(!holds("user.manager is defined"));
    assert!(holds("(user.attributes.rank | default(5)) > 3"));
}

#[test]
fn a_condition_that_is_neither_true_nor_false_is_refused() {
    let refused = |source: &str| Condition::compile(source, &Names::user()).unwrap_err().message;
    assert_eq!(refused("user.email"), "`user.email` is neither true nor false");
    assert!(refused("{{ user.active }}").contains("a template where a condition is wanted"));
    assert!(refused("").contains("cannot be read"));
    let text = Condition::compile("user.attributes.limit", &Names::user()).unwrap();
    assert!(text.holds(&Context::of_user(&ada())).is_err());
}

#[test]
fn conditions_read_accounts_by_attribute_path() {
    let path = |text: &str| AttributePath::parse(text).unwrap();
    let department = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department";
    let account = Account {
        id: "a1".into(),
        state: AccountState::Active,
        values: BTreeMap::from([
            (path("userType"), json!("Employee")),
            (path("name.familyName"), json!("Lovelace")),
            (path(department), json!("emea")),
        ]),
        memberships: BTreeSet::new(),
        version: None,
    };
    let department = format!("account['{department}'] == 'emea'");
    for source in ["account.userType == 'Employee'", "account.name.familyName == 'Lovelace'", department.as_str()] {
        let condition = Condition::compile(source, &Names::account()).unwrap();
        assert!(condition.holds(&Context::of_account(&account)).unwrap(), "{source}");
    }
    let other = Condition::compile("account.department == 'emea'", &Names::account()).unwrap();
    assert!(!other.holds(&Context::of_account(&account)).unwrap());
    assert_eq!(other.references().iter().collect::<Vec<_>>(), ["account.department"]);
}

#[test]
fn a_chain_that_multiplies_its_text_ends_in_an_error_before_memory_does() {
    let hundred = "a".repeat(100);
    let chain = format!(r#"|replace("a", "{hundred}")"#).repeat(6);
    let joined = format!(r#"|split("a")|join("{hundred}")"#).repeat(6);
    for grows in [chain, joined] {
        let source = format!(r#"{{{{ "aaaaaaaaaa"{grows} }}}}"#);
        let result = Template::compile(&source, &Names::mapping())
            .and_then(|template| template.render(&Context::of_user(&ada())));
        assert!(result.unwrap_err().message.contains("more than 65536 bytes"));
    }
}

#[test]
fn compiled_templates_may_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Template>();
    shared::<Condition>();
}

proptest::proptest! {
    #[test]
    fn no_source_makes_the_compiler_panic(source in "[{}%# |'\"a-z.\\[\\]()<>*+~0-9é]{0,40}") {
        if let Ok(template) = Template::compile(&source, &Names::mapping()) {
            template.render(&Context::of_user(&ada())).ok();
        }
        if let Ok(condition) = Condition::compile(&source, &Names::user()) {
            condition.holds(&Context::of_user(&ada())).ok();
        }
    }

    #[test]
    fn user_text_is_never_read_as_a_template(text in "\\PC{1,20}") {
        let user = User { given_name: Some(text.clone()), ..ada() };
        let template = Template::compile("{{ user.givenName }}!", &Names::mapping()).unwrap();
        let expected = Some(json!(format!("{text}!")));
        proptest::prop_assert_eq!(template.render(&Context::of_user(&user)).unwrap(), expected);
    }
}
