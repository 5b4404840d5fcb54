//! What the macros make of right and wrong items. `TRYBUILD=overwrite cargo test -p macro-tests` writes the
//! expected messages anew.

#[test]
fn macros() {
    let cases = trybuild::TestCases::new();
    cases.pass("ui/pass/*.rs");
    cases.compile_fail("ui/fail/*.rs");
}
