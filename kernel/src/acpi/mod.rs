//! ACPI: the tables that Cohort reads, and what they say.
