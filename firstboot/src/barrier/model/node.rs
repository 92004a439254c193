//! One node of the model.

/// The state that a node reports, in a compact form in which lives and epochs are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ModelMessage {
    Nothing,
    Firstboot {
        life: u8,
        ready: Option<u8>,
        without: u8,
        ordered: u8,
    },
    Etcd(u8),
}

/// One node, with its disk and its memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) life: u8,
    /// The number of the node's newest life. No two lives of a node have the same number.
    pub(super) newest: u8,
    pub(super) without: u8,
    pub(super) epochs: Vec<u8>,
    pub(super) started: Option<u8>,
    /// The number of the snapshot that the node was ordered to restore, or 0 without an order.
    pub(super) ordered: u8,
    /// While the node has an order: the epoch of the data on its disk, and the life of the node in
    /// which that epoch began.
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
                ordered: self.ordered,
            },
        }
    }

    /// Begins a new life of the node, without observations.
    pub(super) fn init_disk_id(&mut self) {
        self.newest += 1;
        self.life = self.newest;
        self.epochs.clear();
        self.seen.fill(ModelMessage::Nothing);
    }

    /// Models the operator's order to restore.
    pub(super) fn tell(&mut self, snapshot: u8) {
        self.data = self.started.take().map(|epoch| (epoch, self.life));
        self.ordered = snapshot;
        self.init_disk_id();
    }

    /// Abandons the order. The node continues as before.
    pub(super) fn give_up(&mut self) {
        self.init_disk_id();
        self.ordered = 0;
        if let Some((epoch, life)) = self.data.take() {
            (self.started, self.life) = (Some(epoch), life);
        }
    }
}
