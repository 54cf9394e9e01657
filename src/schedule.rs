//! Cron and intervals in a time zone, validity windows, the next transition.
