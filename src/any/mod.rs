//! A backend chosen at run time by its port spec.
