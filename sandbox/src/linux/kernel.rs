//! What of the kernel's help a job has, and which layers that makes.
use super::{sys, tree};
use crate::wire::Policy;
use crate::{Layer, Mechanism, Net, Status};

/// What of the kernel's help a job has.
pub(super) struct Kernel {
    /// The version of Landlock; 0 for none.
    pub landlock: i32,
    /// Whether system calls are filtered.
    pub filter: bool,
    /// Whether there are namespaces of the job's own, or why not.
    pub spaces: Result<(), String>,
    /// Whether the job has a user of its own.
    pub own_user: bool,
    /// Whether /proc hides the job's processes from the supervisor.
    pub hidden: bool,
    /// Whether the job was given the whole network.
    pub open_network: bool,
    /// Whether a control group holds the limit on memory, and that on processes.
    pub group: (bool, bool),
}

impl Kernel {
    /// What there is without namespaces.
    pub fn of(policy: &Policy) -> Self {
        let without = &policy.without;
        let landlock = if without.contains(&Mechanism::Landlock) { 0 } else { sys::landlock_version() };
        let why = if without.contains(&Mechanism::Namespaces) { "left out" } else { "confinement is switched off" };
        Kernel {
            landlock,
            filter: sys::can_filter(),
            spaces: Err(why.into()),
            own_user: false,
            hidden: tree::read(1).is_none(),
            open_network: policy.job.net == Net::Full,
            group: (false, false),
        }
    }

    /// Why a job must not start, where a layer that it requires is not all there, or a network of its own.
    pub fn suffices(&self, policy: &Policy, confined: bool) -> Result<(), String> {
        if let (true, Net::Hosts(_), Err(why)) = (confined, &policy.job.net, &self.spaces) {
            return Err(format!("only some hosts are allowed to it, which needs namespaces: {why}"));
        }
        let layers = self.layers(confined);
        let lacking =
            layers.iter().find(|(layer, status)| policy.required.contains(layer) && *status != Status::Enforced);
        lacking.map_or(Ok(()), |(layer, status)| Err(format!("the layer {layer} is required, and it is {status}")))
    }

    /// The layers that it makes.
    pub fn layers(&self, confined: bool) -> Vec<(Layer, Status)> {
        Layer::ALL.into_iter().map(|layer| (layer, self.layer(layer, confined))).collect()
    }

    fn layer(&self, layer: Layer, confined: bool) -> Status {
        use Status::{Enforced, Partial, Unavailable};
        let polled = |what: &str| Partial(format!("polled: {what}"));
        match layer {
            Layer::Tree => Enforced,
            Layer::Memory if self.group.0 => Enforced,
            Layer::Memory if self.hidden => Unavailable("/proc hides processes from each other here".into()),
            Layer::Processes if self.hidden => Partial("twice the limit, by the kernel; /proc hides processes".into()),
            Layer::Memory => polled("a burst can pass the limit for a moment"),
            Layer::Disk => polled("a burst can pass the limit for a moment"),
            Layer::Processes if sys::is_root() && !self.own_user && !self.group.1 => {
                polled("root has no kernel limit on processes")
            }
            Layer::Processes => Enforced,
            Layer::Environment if !confined => {
                Partial("nothing is handed on, but without confinement /proc shows other processes' variables".into())
            }
            _ if !confined => Unavailable("confinement is switched off".into()),
            Layer::Files => self.files(),
            Layer::Metadata => match &self.spaces {
                Ok(()) => Enforced,
                Err(why) => Unavailable(format!("needs a mount namespace: {why}")),
            },
            Layer::Network if self.open_network => Unavailable("the job was given the whole network".into()),
            Layer::Network => self.network(),
            Layer::Syscalls if !self.filter => Unavailable("this kernel does not filter system calls".into()),
            Layer::Environment if self.landlock == 0 && self.spaces.is_err() => {
                Partial("nothing is handed on, but /proc shows the variables of this user's other processes".into())
            }
            Layer::Privileges if sys::is_root() && !self.own_user => {
                Partial("the job is root, without its capabilities; a user of its own needs idmapped mounts".into())
            }
            Layer::Signals => self.signals(),
            Layer::Syscalls | Layer::Environment | Layer::Descriptors | Layer::Privileges => Enforced,
        }
    }

    fn files(&self) -> Status {
        match self.landlock {
            _ if self.spaces.is_ok() => Status::Enforced,
            0 => Status::Unavailable("needs Landlock (Linux 5.13, landlock in its list of LSMs) or namespaces".into()),
            1 | 2 => Status::Partial("files can be truncated; needs namespaces or Linux 6.2".into()),
            _ => Status::Enforced,
        }
    }

    fn network(&self) -> Status {
        match (self.filter, self.landlock) {
            _ if self.spaces.is_ok() => Status::Enforced,
            (true, _) => Status::Enforced,
            (false, 4..) => Status::Partial("TCP only, because this kernel does not filter system calls".into()),
            (false, _) => Status::Unavailable("needs namespaces, a filter of system calls, or Landlock".into()),
        }
    }

    fn signals(&self) -> Status {
        match (self.landlock, self.filter) {
            _ if self.spaces.is_ok() => Status::Enforced,
            (6.., _) => Status::Enforced,
            (_, true) => Status::Partial("only this program and its supervisor are out of reach".into()),
            (_, false) => Status::Unavailable("needs namespaces or Linux 6.12".into()),
        }
    }
}
