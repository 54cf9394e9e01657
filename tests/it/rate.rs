//! The rate of a target: whom it holds back, and whom not.

use rosterd::http::rate::Caller;
use rosterd::http::rate::Rate;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn one_permit_is_kept_for_a_removal_which_pays_for_no_others() {
    let now = Instant::now();
    let rate = Rate::new(Some(1.0), now);
    assert_eq!(rate.take(Caller::Other, now), Ok(()));
    assert!(rate.take(Caller::Other, now).is_err());
    assert!(rate.take(Caller::Listing, now).is_err());
    assert_eq!(rate.take(Caller::Narrowing, now), Ok(()));
    assert!(rate.take(Caller::Narrowing, now).is_err());
}
