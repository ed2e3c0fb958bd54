//! The views that readers see: each read model's points at the table of its generation, and the domain's SQL views
//! stand on those. A reader sees the one generation or the other, whole.

use sha2::{Digest, Sha256};
use sqlx::postgres::PgConnection;

use super::{VIEW_LOCK_WAIT, execute_all, hexadecimal, postgres};
use crate::catalogue::{Catalogue, ViewSpec};
use crate::generation::{TABLES_SCHEMA, table, table_name};
use crate::registry;
use crate::rows::columns;
use crate::schema::SetupError;

/// Points a read model's view at a generation, in the caller's transaction: readers see the one or the other, whole.
/// Where the columns changed, SQL views over it go; [`ensure_views`] makes them again.
///
/// # Errors
/// [`SetupError::Postgres`]; also when readers of the old view do not end within 10 seconds.
pub async fn point_view(
    connection: &mut PgConnection,
    name: &str,
    generation: u32,
) -> Result<(), SetupError> {
    let failed = || postgres(format!("pointing the view {name} at generation {generation}"));
    let physical = table(name, generation);
    let definition: Option<String> = sqlx::query_scalar(
        "SELECT definition FROM pg_views WHERE schemaname = 'public' AND viewname = $1",
    )
    .bind(name)
    .fetch_optional(&mut *connection)
    .await
    .map_err(failed())?;
    if definition.as_ref().is_some_and(|text| text.trim_end().ends_with(&format!("{physical};"))) {
        return Ok(());
    }
    execute_all(connection, VIEW_LOCK_WAIT).await.map_err(failed())?;
    if definition.is_some() {
        let old = columns(connection, "public", name).await.map_err(failed())?;
        let new = columns(connection, TABLES_SCHEMA, &table_name(name, generation))
            .await
            .map_err(failed())?;
        if !new.starts_with(&old) {
            let sql = format!("DROP VIEW public.{name} CASCADE");
            execute_all(connection, &sql).await.map_err(failed())?;
        }
    }
    let sql = format!("CREATE OR REPLACE VIEW public.{name} AS SELECT * FROM {physical}");
    execute_all(connection, &sql).await.map_err(failed())
}

/// Makes the catalogue's SQL views, where they are missing or their text has changed. One that reads columns which a
/// read model will only have after its rebuild is left out for now.
///
/// # Errors
/// [`SetupError::Postgres`].
pub async fn ensure_views(
    connection: &mut PgConnection,
    catalogue: &Catalogue,
) -> Result<(), SetupError> {
    let checkpoints =
        registry::read_all(connection).await.map_err(postgres("reading the checkpoints"))?;
    let rebuild_waits = checkpoints.iter().any(|row| {
        catalogue.find_read_model(&row.name).is_some_and(|m| m.spec().version != row.version)
    });
    for view in catalogue.views() {
        execute_all(connection, "SAVEPOINT one_view").await.map_err(postgres("a savepoint"))?;
        let made = ensure_view(connection, view).await;
        let end = match &made {
            Ok(()) => "RELEASE SAVEPOINT one_view",
            Err(_) => "ROLLBACK TO SAVEPOINT one_view",
        };
        execute_all(connection, end).await.map_err(postgres("ending a savepoint"))?;
        match made {
            Err(error) if rebuild_waits => {
                tracing::warn!(view = view.name, %error, "view waits for a rebuild");
            }
            other => other.map_err(postgres(format!("making the view {}", view.name)))?,
        }
    }
    Ok(())
}

async fn ensure_view(connection: &mut PgConnection, view: &ViewSpec) -> Result<(), sqlx::Error> {
    let digest = hexadecimal(&Sha256::digest(view.sql));
    let current: bool = sqlx::query_scalar(
        "SELECT EXISTS (SELECT FROM annals_views v JOIN pg_views p ON p.viewname = v.name \
         WHERE p.schemaname = 'public' AND v.name = $1 AND v.digest = $2)",
    )
    .bind(view.name)
    .bind(&digest)
    .fetch_one(&mut *connection)
    .await?;
    if current {
        return Ok(());
    }
    execute_all(connection, &format!("DROP VIEW IF EXISTS public.{} CASCADE", view.name)).await?;
    execute_all(connection, view.sql).await?;
    sqlx::query(
        "INSERT INTO annals_views (name, digest) VALUES ($1, $2) \
         ON CONFLICT (name) DO UPDATE SET digest = excluded.digest",
    )
    .bind(view.name)
    .bind(&digest)
    .execute(connection)
    .await?;
    Ok(())
}
