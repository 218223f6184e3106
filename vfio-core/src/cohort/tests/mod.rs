//! Tests of cohorts and plans.
