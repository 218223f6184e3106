//! A guest: its memory, its platform, its devices, its life.
