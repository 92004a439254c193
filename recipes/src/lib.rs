//! What a cluster is: the types that builder and firstboot share, and the recipe's reader.
