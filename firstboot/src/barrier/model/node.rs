//! Defines a node of the model.

/// The state that a node reports, in a compact form: numbers represent nonces and proposals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum ModelMessage {
    Nothing,
    Firstboot {
        nonce: u8,
        accepted: Option<u8>,
        without: u8,
        ordered: u8,
    },
    Etcd(u8),
}

/// A node with its disk and its memory.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) nonce: u8,
    /// The node's newest nonce. No two nonces of a node are the same.
    pub(super) newest: u8,
    pub(super) without: u8,
    pub(super) proposals: Vec<u8>,
    pub(super) started: Option<u8>,
    /// The number of the snapshot that the node was ordered to restore, or 0 without an order.
    pub(super) ordered: u8,
    /// The proposal from which the data on the node's disk came, and the node's nonce in that
    /// proposal. This value is set only while the node has an order.
    pub(super) data: Option<(u8, u8)>,
    pub(super) seen: Vec<ModelMessage>,
}

impl Node {
    pub(super) fn announcement(&self) -> ModelMessage {
        match self.started {
            Some(proposal) => ModelMessage::Etcd(proposal),
            None => ModelMessage::Firstboot {
                nonce: self.nonce,
                accepted: self.proposals.last().copied(),
                without: self.without,
                ordered: self.ordered,
            },
        }
    }

    /// Gives the node a new nonce, and deletes its proposals and observations.
    pub(super) fn draw_nonce(&mut self) {
        self.newest += 1;
        self.nonce = self.newest;
        self.proposals.clear();
        self.seen.fill(ModelMessage::Nothing);
    }

    /// Models the operator's order to restore.
    pub(super) fn order_restore(&mut self, snapshot: u8) {
        self.data = self.started.take().map(|proposal| (proposal, self.nonce));
        self.ordered = snapshot;
        self.draw_nonce();
    }

    /// Abandons the order. The node continues with its previous data.
    pub(super) fn give_up(&mut self) {
        self.draw_nonce();
        self.ordered = 0;
        if let Some((proposal, nonce)) = self.data.take() {
            (self.started, self.nonce) = (Some(proposal), nonce);
        }
    }
}
