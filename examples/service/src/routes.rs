//! Handlers.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde::Deserialize;

use crate::App;
use crate::cached::{MembersNode, PostsNode, UserByEmailNode, UserNode};
use crate::error::Error;
use crate::source::User;

type Result<T> = std::result::Result<T, Error>;

/// All routes of the service.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/users", get(users).post(add_user))
        .route("/users/{id}", get(user).put(rename))
        .route("/users/by-email/{email}", get(user_by_email))
        .route("/orgs/{org}/members", get(members))
        .route("/orgs/{org}/posts", get(posts))
        .route("/posts", post(add_posts))
        .route("/flags/{name}", get(flag))
        .route("/flags/{name}/{enabled}", put(set_flag))
        .route("/stats", get(stats))
        .with_state(app)
}

async fn user(State(app): State<App>, Path(id): Path<i64>) -> Result<Json<User>> {
    let user = app.cacheme.get(&UserNode { id }).await?;
    user.map(Json).ok_or(Error::NotFound)
}

#[derive(Deserialize)]
struct Ids {
    /// Numbers with commas between them.
    ids: String,
}

/// Several users: one round trip for those that are cached, one query for the rest.
async fn users(State(app): State<App>, Query(ids): Query<Ids>) -> Result<Json<Vec<User>>> {
    let ids = ids.ids.split(',').filter_map(|id| id.parse().ok());
    let nodes: Vec<_> = ids.map(|id| UserNode { id }).collect();
    let users = app.cacheme.get_all(&nodes).await?;
    Ok(Json(users.into_iter().flatten().collect()))
}

async fn user_by_email(State(app): State<App>, Path(email): Path<String>) -> Result<Json<User>> {
    let id = app
        .cacheme
        .get(&UserByEmailNode { email })
        .await?
        .ok_or(Error::NotFound)?;
    user(State(app), Path(id)).await
}

#[derive(Deserialize)]
struct NewUser {
    org: i64,
    name: String,
    email: String,
}

async fn add_user(State(app): State<App>, Json(new): Json<NewUser>) -> Result<Json<User>> {
    Ok(Json(app.add_user(new.org, &new.name, &new.email).await?))
}

async fn rename(State(app): State<App>, Path(id): Path<i64>, name: String) -> Result<StatusCode> {
    if app.rename(id, &name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Error::NotFound)
    }
}

async fn members(State(app): State<App>, Path(org): Path<i64>) -> Result<Json<i64>> {
    Ok(Json(app.cacheme.get(&MembersNode { org }).await?))
}

#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    page: u32,
}

async fn posts(
    State(app): State<App>,
    Path(org): Path<i64>,
    Query(page): Query<Page>,
) -> Result<Json<Vec<String>>> {
    let page: Arc<[String]> = app.cacheme.get(&PostsNode { org, page: page.page }).await?;
    Ok(Json(page.to_vec()))
}

#[derive(Deserialize)]
struct NewPost {
    org: i64,
    title: String,
}

async fn add_posts(State(app): State<App>, Json(new): Json<Vec<NewPost>>) -> Result<StatusCode> {
    let posts: Vec<_> = new.into_iter().map(|post| (post.org, post.title)).collect();
    app.add_posts(&posts).await?;
    Ok(StatusCode::CREATED)
}

async fn flag(State(app): State<App>, Path(name): Path<String>) -> Result<Json<bool>> {
    Ok(Json(app.flag(&name).await?))
}

async fn set_flag(State(app): State<App>, Path((name, enabled)): Path<(String, bool)>) -> Result<StatusCode> {
    app.set_flag(&name, enabled).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What the cache does, a block for each kind of node.
async fn stats(State(app): State<App>) -> String {
    let all = app.cacheme.all_stats();
    all.iter().map(|stats| format!("{stats}\n")).collect()
}
