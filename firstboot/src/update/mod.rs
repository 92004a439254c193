//! `firstboot update`: this node takes over a newer image of its cluster, while its cluster serves.
//!
//! `source` fetches a release, and `look` judges it. `stage` unpacks the image beside the one in use. Then `worker`, in a unit of its
//! own, carries the order out: it takes the turn that the members agree on in etcd (`cluster`), when the cluster can spare this member
//! (`ready`); it exchanges the files (`exchange`, by the list of `changes`), tells the system (`tell`, by the list of `effects`), and
//! proves the member (`prove`), or takes the previous image back. `state` is what it has on the disk: whenever the power fails, the unit
//! goes on from there at the next boot. `follow` shows to the operator what the unit says.

mod changes;
mod check;
mod cluster;
mod command;
mod effects;
mod exchange;
mod follow;
mod lines;
mod look;
mod own;
mod prove;
mod ready;
mod source;
mod stage;
mod state;
mod tell;
mod turn;
mod worker;

pub(crate) use command::{Options, run};
pub(crate) use turn::return_turn_of_previous_self;
