//! The integration suite: one binary, one folder an area. Nothing but Rust is needed to run it.

// `cfg(test)` tells clippy that helpers here are test code too.
#[cfg(test)]
mod absent;
#[cfg(test)]
mod administrators;
#[cfg(test)]
mod api;
#[cfg(test)]
mod architecture;
#[cfg(test)]
mod attack;
#[cfg(test)]
mod blockers;
#[cfg(test)]
mod canary;
#[cfg(test)]
mod cli;
#[cfg(test)]
mod clock;
#[cfg(test)]
mod conformance;
#[cfg(test)]
mod coupled;
#[cfg(test)]
mod crossed;
#[cfg(test)]
mod deletion;
#[cfg(test)]
mod directory;
#[cfg(test)]
mod engine;
#[cfg(test)]
mod features;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod grants;
#[cfg(test)]
mod hands;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod left;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod manifest;
#[cfg(test)]
mod mass;
#[cfg(test)]
mod metrics;
#[cfg(test)]
mod outbox;
#[cfg(test)]
mod owed;
#[cfg(test)]
mod partial;
#[cfg(test)]
mod quarantine;
#[cfg(test)]
mod rate;
#[cfg(test)]
mod releases;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod revoke;
// What the kernel counts of a process is read where Linux has it.
#[cfg(test)]
#[cfg(target_os = "linux")]
#[expect(clippy::cast_precision_loss, reason = "no count of a test comes near 2^52")]
mod scale;
#[cfg(test)]
mod seeds;
#[cfg(test)]
mod signed;
#[cfg(test)]
mod silence;
#[cfg(test)]
mod stop;
#[cfg(test)]
mod store;
#[cfg(test)]
mod support;
#[cfg(test)]
mod turns;
#[cfg(test)]
mod twins;
#[cfg(test)]
mod unaccepted;
#[cfg(test)]
mod unanswered;
#[cfg(test)]
mod what_if;
