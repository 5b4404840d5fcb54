//! What is cached: four kinds of nodes, a memoized function, and the writes that invalidate them.

use std::collections::HashMap;
use std::sync::Arc;

use cacheme::{LoadContext, Node, invalidate, memoize};

use crate::App;
use crate::source::{Source, User};

/// A user by number: near for half a minute, shared for ten. That there is none is remembered for five seconds.
#[derive(Node, Clone, Debug, PartialEq, Eq, Hash)]
#[node(
    key = "user:{id}",
    value = Option<User>,
    tier(storage = "local", ttl = "30s"),
    tier(storage = "shared", ttl = "10m"),
    negative_ttl = "5s",
    state = Arc<Source>,
    load_all = load_users,
)]
pub struct UserNode {
    /// The number.
    pub id: i64,
}

/// One query for all users of a page that no tier has.
async fn load_users(
    nodes: &[UserNode],
    cx: &mut LoadContext<UserNode>,
) -> Result<HashMap<UserNode, Option<User>>, sqlx::Error> {
    let ids: Vec<i64> = nodes.iter().map(|node| node.id).collect();
    let users = cx.state::<Arc<Source>>().users(&ids).await?;
    let mut found: HashMap<_, _> = nodes.iter().map(|node| (node.clone(), None)).collect();
    found.extend(
        users
            .into_iter()
            .map(|user| (UserNode { id: user.id }, Some(user))),
    );
    Ok(found)
}

/// The number of the user with an address.
#[derive(Node, Clone, Debug)]
#[node(
    key = "user-by-email:{email}",
    value = Option<i64>,
    tier(storage = "local", ttl = "1m"),
    negative_ttl = "5s",
    state = Arc<Source>,
    load = load_id,
)]
pub struct UserByEmailNode {
    /// The address.
    pub email: String,
}

async fn load_id(
    node: &UserByEmailNode,
    cx: &mut LoadContext<UserByEmailNode>,
) -> Result<Option<i64>, sqlx::Error> {
    cx.state::<Arc<Source>>().id_of(&node.email).await
}

/// How many users an organisation has.
#[derive(Node, Clone, Debug)]
#[node(
    key = "members:{org}",
    value = i64,
    tier(storage = "local", ttl = "1m"),
    state = Arc<Source>,
    load = load_members,
)]
pub struct MembersNode {
    /// The number of the organisation.
    pub org: i64,
}

async fn load_members(node: &MembersNode, cx: &mut LoadContext<MembersNode>) -> Result<i64, sqlx::Error> {
    cx.state::<Arc<Source>>().members(node.org).await
}

/// A page of an organisation's posts, the newest first.
#[derive(Node, Clone, Debug)]
#[node(
    key = "posts:{org}/{page}",
    value = Arc<[String]>,
    tier(storage = "local", ttl = "30s"),
    state = Arc<Source>,
    load = load_posts,
    serializer = none,
)]
pub struct PostsNode {
    /// The number of the organisation.
    pub org: i64,
    /// The number of the page, from zero.
    pub page: u32,
}

async fn load_posts(node: &PostsNode, cx: &mut LoadContext<PostsNode>) -> Result<Arc<[String]>, sqlx::Error> {
    let posts = cx.state::<Arc<Source>>().posts(node.org, node.page).await?;
    Ok(posts.into())
}

/// Pages whose posts move when one is added.
const PAGES: u32 = 3;

impl App {
    /// Whether a feature is on.
    #[memoize(key = "flag:{name}", ttl = "5s", cacheme = &self.cacheme)]
    pub async fn flag(&self, name: &str) -> Result<bool, sqlx::Error> {
        self.source.flag(name).await
    }

    #[invalidate(App::flag_node(name), cacheme = &self.cacheme)]
    pub(crate) async fn set_flag(&self, name: &str, enabled: bool) -> Result<(), sqlx::Error> {
        self.source.set_flag(name, enabled).await
    }

    #[invalidate(UserNode { id }, cacheme = &self.cacheme)]
    pub(crate) async fn rename(&self, id: i64, name: &str) -> Result<bool, sqlx::Error> {
        self.source.rename(id, name).await
    }

    #[invalidate(
        MembersNode { org },
        UserByEmailNode { email: email.into() },
        after(|user: &User| UserNode { id: user.id }),
        cacheme = &self.cacheme
    )]
    pub(crate) async fn add_user(&self, org: i64, name: &str, email: &str) -> Result<User, sqlx::Error> {
        self.source.add_user(org, name, email).await
    }

    /// Adds posts of several organisations in one transaction.
    pub(crate) async fn add_posts(&self, posts: &[(i64, String)]) -> Result<(), sqlx::Error> {
        let mut changes = self.cacheme.changes();
        for (org, _) in posts {
            let pages: Vec<_> = (0..PAGES).map(|page| PostsNode { org: *org, page }).collect();
            changes.invalidate_all(&pages);
        }
        if let Err(error) = self.source.add_posts(posts).await {
            changes.discard();
            return Err(error);
        }
        if let Err(error) = changes.send().await {
            // It is tried again in the background, and the posts are there.
            tracing::warn!(%error, "a change could not be sent");
        }
        Ok(())
    }
}
