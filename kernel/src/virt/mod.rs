//! Virtualisation hardware behind one vendor-neutral interface.
