//! The service of users: `$admins` may do all, and a user may see itself and change its own password.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tonic::{Extensions, Request, Response, Status};

use super::super::errors::ProtocolError;
use super::super::service::Protocol;
use super::super::wire::v1::users as wire;
use super::super::wire::v1::users::users_server::Users as Service;
use super::user::User;
use super::users::Users;

/// The service, where users must sign in.
pub struct UsersService {
    protocol: Arc<Protocol>,
    users: Arc<Users>,
}

fn options<T>(options: Option<T>) -> Result<T, ProtocolError> {
    options.ok_or_else(|| ProtocolError::Malformed("the options are missing".to_owned()))
}

fn details(user: &User) -> wire::DetailsResp {
    use wire::details_resp::{UserDetails, user_details::DateTime};
    let ticks = user.changed.0.saturating_mul(10);
    wire::DetailsResp {
        user_details: Some(UserDetails {
            login_name: user.login().to_owned(),
            full_name: user.record.full_name.clone(),
            groups: user.record.groups.clone(),
            last_updated: Some(DateTime { ticks_since_epoch: ticks }),
            disabled: user.record.disabled,
        }),
    }
}

impl UsersService {
    /// The service of a protocol; nothing where it does not ask who calls.
    pub fn of(protocol: &Arc<Protocol>) -> Option<UsersService> {
        let users = Arc::clone(protocol.users.as_ref()?);
        Some(UsersService { protocol: Arc::clone(protocol), users })
    }

    fn administer(&self, extensions: &Extensions) -> Result<(), ProtocolError> {
        self.protocol.may_administer(&self.protocol.caller(extensions))
    }

    /// Of what a user may do with itself.
    fn administer_or_be(&self, extensions: &Extensions, login: &str) -> Result<(), ProtocolError> {
        let caller = self.protocol.caller(extensions);
        if caller.login() == Some(login) {
            return self.protocol.may_be_here(&caller);
        }
        self.protocol.may_administer(&caller)
    }

    fn found(&self, login: &str) -> Result<Vec<Arc<User>>, ProtocolError> {
        if login.is_empty() {
            return Ok(self.users.all());
        }
        let user = self.users.find(login);
        Ok(vec![user.ok_or_else(|| ProtocolError::UserNotFound(login.to_owned()))?])
    }
}

#[tonic::async_trait]
impl Service for UsersService {
    type DetailsStream = BoxStream<'static, Result<wire::DetailsResp, Status>>;

    async fn create(
        &self,
        request: Request<wire::CreateReq>,
    ) -> Result<Response<wire::CreateResp>, Status> {
        self.administer(request.extensions())?;
        let asked = options(request.into_inner().options)?;
        let wire::create_req::Options { login_name, password, full_name, groups } = asked;
        self.users.create(&login_name, password, full_name, groups).await?;
        Ok(Response::new(wire::CreateResp {}))
    }

    /// The password of the request is not looked at, as KurrentDB does not either.
    async fn update(
        &self,
        request: Request<wire::UpdateReq>,
    ) -> Result<Response<wire::UpdateResp>, Status> {
        self.administer(request.extensions())?;
        let asked = options(request.into_inner().options)?;
        let wire::update_req::Options { login_name, password: _, full_name, groups } = asked;
        self.users.update(&login_name, full_name, groups).await?;
        Ok(Response::new(wire::UpdateResp {}))
    }

    async fn delete(
        &self,
        request: Request<wire::DeleteReq>,
    ) -> Result<Response<wire::DeleteResp>, Status> {
        self.administer(request.extensions())?;
        self.users.delete(&options(request.into_inner().options)?.login_name).await?;
        Ok(Response::new(wire::DeleteResp {}))
    }

    async fn disable(
        &self,
        request: Request<wire::DisableReq>,
    ) -> Result<Response<wire::DisableResp>, Status> {
        self.administer(request.extensions())?;
        self.users.disable(&options(request.into_inner().options)?.login_name, true).await?;
        Ok(Response::new(wire::DisableResp {}))
    }

    async fn enable(
        &self,
        request: Request<wire::EnableReq>,
    ) -> Result<Response<wire::EnableResp>, Status> {
        self.administer(request.extensions())?;
        self.users.disable(&options(request.into_inner().options)?.login_name, false).await?;
        Ok(Response::new(wire::EnableResp {}))
    }

    /// Of all users where none is named.
    async fn details(
        &self,
        request: Request<wire::DetailsReq>,
    ) -> Result<Response<Self::DetailsStream>, Status> {
        let login = request.get_ref().options.as_ref().map_or("", |options| &options.login_name);
        self.administer_or_be(request.extensions(), login)?;
        let found = self.found(login)?;
        let told = stream::iter(found).map(|user| Ok(details(&user)));
        Ok(Response::new(told.boxed()))
    }

    async fn change_password(
        &self,
        request: Request<wire::ChangePasswordReq>,
    ) -> Result<Response<wire::ChangePasswordResp>, Status> {
        let (_, extensions, asked) = request.into_parts();
        let asked = options(asked.options)?;
        self.administer_or_be(&extensions, &asked.login_name)?;
        let (current, new) = (&asked.current_password, asked.new_password);
        self.users.change_password(&asked.login_name, current, new).await?;
        Ok(Response::new(wire::ChangePasswordResp {}))
    }

    async fn reset_password(
        &self,
        request: Request<wire::ResetPasswordReq>,
    ) -> Result<Response<wire::ResetPasswordResp>, Status> {
        self.administer(request.extensions())?;
        let asked = options(request.into_inner().options)?;
        self.users.reset_password(&asked.login_name, asked.new_password).await?;
        Ok(Response::new(wire::ResetPasswordResp {}))
    }
}
