//! One node of the model.

/// The state that a node reports, in a compact form with numbers for lives and epochs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ModelMessage {
    Nothing,
    Firstboot {
        life: u8,
        ready: Option<u8>,
        without: u8,
        told: u8,
    },
    Etcd(u8),
}

/// One node: its disk and its memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) life: u8,
    /// The number of its newest life. Every life has another number.
    pub(super) newest: u8,
    pub(super) without: u8,
    pub(super) epochs: Vec<u8>,
    pub(super) started: Option<u8>,
    /// The number of the snapshot that it has an order to restore, or 0 without an order.
    pub(super) told: u8,
    /// While it has an order: the epoch of the data on its disk, and the life of the node in which
    /// that epoch began.
    pub(super) data: Option<(u8, u8)>,
    pub(super) seen: Vec<ModelMessage>,
}

impl Node {
    pub(super) fn says(&self) -> ModelMessage {
        match self.started {
            Some(epoch) => ModelMessage::Etcd(epoch),
            None => ModelMessage::Firstboot {
                life: self.life,
                ready: self.epochs.last().copied(),
                without: self.without,
                told: self.told,
            },
        }
    }

    /// Begins another life, without observations.
    pub(super) fn init_disk_id(&mut self) {
        self.newest += 1;
        self.life = self.newest;
        self.epochs.clear();
        self.seen.fill(ModelMessage::Nothing);
    }

    /// An operator orders it to restore.
    pub(super) fn tell(&mut self, snapshot: u8) {
        self.data = self.started.take().map(|epoch| (epoch, self.life));
        self.told = snapshot;
        self.init_disk_id();
    }

    /// It drops the order and continues as before.
    pub(super) fn give_up(&mut self) {
        self.init_disk_id();
        self.told = 0;
        if let Some((epoch, life)) = self.data.take() {
            (self.started, self.life) = (Some(epoch), life);
        }
    }
}
