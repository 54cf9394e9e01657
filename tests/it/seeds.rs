//! The systems that rosterd stands in for, end to end. A test's name begins with the row of the
//! product's table that it shows; it starts from the sample that a user would run, and ends with a
//! second plan that is empty.

mod program;
mod s1;
mod s1_access;
mod s2;
mod s2_told;
mod s3;
mod s3_welcome;
mod s4;
mod s5;
mod s5_environments;
mod sample;
mod stage;
