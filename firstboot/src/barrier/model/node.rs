//! Defines a node of the model.

/// The state that a node reports, in a compact form: numbers represent disks and proposals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ModelMessage {
    Nothing,
    Firstboot {
        disk: u8,
        accepted: Option<u8>,
        without: u8,
        ordered: u8,
    },
    Etcd(u8),
}

/// A node with its disk and its memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) disk: u8,
    /// The number of the node's newest disk. No two disks of a node have the same number.
    pub(super) newest: u8,
    pub(super) without: u8,
    pub(super) proposals: Vec<u8>,
    pub(super) started: Option<u8>,
    /// The number of the snapshot that the node was ordered to restore, or 0 without an order.
    pub(super) ordered: u8,
    /// While the node has an order, the proposal from which the data on its disk came, and the disk
    /// id in that proposal.
    pub(super) data: Option<(u8, u8)>,
    pub(super) seen: Vec<ModelMessage>,
}

impl Node {
    pub(super) fn announcement(&self) -> ModelMessage {
        match self.started {
            Some(proposal) => ModelMessage::Etcd(proposal),
            None => ModelMessage::Firstboot {
                disk: self.disk,
                accepted: self.proposals.last().copied(),
                without: self.without,
                ordered: self.ordered,
            },
        }
    }

    /// Gives the node a new disk id, and deletes its observations.
    pub(super) fn init_disk_id(&mut self) {
        self.newest += 1;
        self.disk = self.newest;
        self.proposals.clear();
        self.seen.fill(ModelMessage::Nothing);
    }

    /// Models the operator's order to restore.
    pub(super) fn order_restore(&mut self, snapshot: u8) {
        self.data = self.started.take().map(|proposal| (proposal, self.disk));
        self.ordered = snapshot;
        self.init_disk_id();
    }

    /// Abandons the order. The node continues as before.
    pub(super) fn give_up(&mut self) {
        self.init_disk_id();
        self.ordered = 0;
        if let Some((proposal, disk)) = self.data.take() {
            (self.started, self.disk) = (Some(proposal), disk);
        }
    }
}
