//! Every metric of rosterd, as fields of one struct.
