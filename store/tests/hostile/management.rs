//! Requests of the services that manage projections and users.

use annals_store::protocol::wire::v1::{Empty, projections, users};
use bytes::Bytes;

use super::choices::Choices;
use super::messages::{encoded, text};

/// A request of the service of projections.
pub(super) fn projection(method: &str, choices: &mut Choices<'_>) -> Bytes {
    let name = choices.of(&["$by_category", "$streams", "$by_event_type", "mine", ""]).to_owned();
    let given = !choices.one_in(10);
    match method {
        "Statistics" => {
            use projections::statistics_req::options::Mode;
            let mode = choices.of(&[None, Some(Mode::All(Empty {})), Some(Mode::Name(name))]);
            let options = projections::statistics_req::Options { mode };
            encoded(&projections::StatisticsReq { options: given.then_some(options) })
        }
        "Enable" => {
            let options = projections::enable_req::Options { name };
            encoded(&projections::EnableReq { options: given.then_some(options) })
        }
        "Disable" => {
            let options = projections::disable_req::Options { name, write_checkpoint: true };
            encoded(&projections::DisableReq { options: given.then_some(options) })
        }
        "Reset" => {
            let options = projections::reset_req::Options { name, write_checkpoint: false };
            encoded(&projections::ResetReq { options: given.then_some(options) })
        }
        "State" | "Result" => {
            let options = projections::state_req::Options { name, partition: text(choices) };
            encoded(&projections::StateReq { options: given.then_some(options) })
        }
        _ => Bytes::new(),
    }
}

/// A request of the service of users.
pub(super) fn user(method: &str, choices: &mut Choices<'_>) -> Bytes {
    let login_name = choices.of(&["ann", "ann", "bob", "$all", "a:b", ""]).to_owned();
    let password = choices.of(&["", "right", "wrong"]).to_owned();
    let given = !choices.one_in(10);
    match method {
        "Create" | "Update" => {
            let options = users::create_req::Options {
                login_name,
                password,
                full_name: text(choices),
                groups: vec![choices.of(&["$admins", "readers", ""]).to_owned()],
            };
            encoded(&users::CreateReq { options: given.then_some(options) })
        }
        "ChangePassword" => {
            let options = users::change_password_req::Options {
                login_name,
                current_password: "right".to_owned(),
                new_password: password,
            };
            encoded(&users::ChangePasswordReq { options: given.then_some(options) })
        }
        "ResetPassword" => {
            let options = users::reset_password_req::Options { login_name, new_password: password };
            encoded(&users::ResetPasswordReq { options: given.then_some(options) })
        }
        _ => {
            let options = users::details_req::Options { login_name };
            encoded(&users::DetailsReq { options: given.then_some(options) })
        }
    }
}
