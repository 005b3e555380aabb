//! Intervals, tests and power: what a number is worth, and what a difference of two is worth.
//!
//! | module | answers |
//! |---|---|
//! | `share` | how sure is a share of right answers, also where items come in clusters |
//! | `mean` | how sure is a mean |
//! | `exact` | do two models differ on right-or-wrong items, without a random number |
//! | `resample` | the same for any statistic: permutation tests and bootstraps with a fixed seed |
//! | `tries` | pass@k and pass^k |
//! | `many` | what remains of p-values when there are many |
//! | `unpaired` | the same for two results on different items |
//! | `power` | which difference could have been seen, and how many items would show one |
//!
//! What cannot be known from the data is `None`: no item, one item where two are needed, a spread of zero, or a value
//! that is not finite. `alpha` is the share of intervals that may miss, 0.05 for intervals of 95 %.

mod distributions;
mod exact;
mod many;
mod mean;
mod power;
mod resample;
mod share;
mod tries;
mod unpaired;

pub use self::{
    distributions::{normal_quantile, normal_two_sided, t_quantile, t_two_sided},
    exact::{mcnemar, paired_bootstrap},
    many::benjamini_hochberg,
    mean::{Estimate, paired_share},
    power::{POWER, detectable, detectable_paired, items_needed, noise_floor},
    resample::{
        DRAWS, Sums, bootstrap, hierarchical, hierarchical_difference, paired_permutation, percentile_interval,
    },
    share::{FEW, clopper_pearson, clustered_share, share, wilson, wilson_at},
    tries::{Tries, pass_at_k, pass_hat_k},
    unpaired::{Counted, Difference, detectable_unpaired, fisher, unpaired_share},
};
