//! The one table from the family of an error to what REST and gRPC say. Exhaustive: a new family
//! does not compile until it has its codes here. (The command line's exit codes stand in `cli`, as
//! exhaustive.)

use annals_core::Family;
use http::StatusCode;
use tonic::Code;

/// What the interfaces say for a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FamilyStatus {
    /// The HTTP status.
    pub http: StatusCode,
    /// The gRPC status.
    pub grpc: Code,
    /// The last part of the problem's type, `urn:annals:problem:NAME`. Never changes.
    pub name: &'static str,
    /// What the family means, for people.
    pub title: &'static str,
}

/// The codes of a family.
pub fn of(family: Family) -> FamilyStatus {
    let (http, grpc, name, title) = match family {
        Family::Malformed => {
            (400, Code::InvalidArgument, "malformed", "The request itself is wrong")
        }
        Family::Unauthenticated => {
            (401, Code::Unauthenticated, "unauthenticated", "The caller did not say who they are")
        }
        Family::Denied => (403, Code::PermissionDenied, "denied", "The caller may not do this"),
        Family::NotFound => (404, Code::NotFound, "not-found", "What was asked for is not there"),
        Family::Refusal => (422, Code::FailedPrecondition, "refusal", "The domain says no"),
        Family::Conflict => (409, Code::Aborted, "conflict", "Someone else was first"),
        Family::TooMuch => (429, Code::ResourceExhausted, "too-much", "Too much at once"),
        Family::Unavailable => {
            (503, Code::Unavailable, "unavailable", "A fault that passes; try again")
        }
        Family::Damage => (500, Code::DataLoss, "damage", "Stored bytes are damaged"),
    };
    let http = StatusCode::from_u16(http).expect("a constant of the table above");
    FamilyStatus { http, grpc, name, title }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    #[test]
    fn the_table_is_a_contract() {
        let mut table = String::new();
        for family in Family::ALL {
            let status = of(family);
            let (http, grpc) = (status.http.as_u16(), status.grpc);
            writeln!(table, "{family:?} {http} {grpc:?} {}", status.name).expect("text");
        }
        insta::assert_snapshot!(table);
    }
}
