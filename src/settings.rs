//! `rosterd.yaml`: the operator's configuration.
