//! The handlers, each test with an application of its own: a database in memory and a cache.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test fails by panicking")]

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use service::{App, UserNode, router};
use tower::ServiceExt as _;

struct Service(App);

impl Service {
    async fn new() -> Self {
        Self(App::new("sqlite::memory:", None).await.unwrap())
    }

    async fn send(&self, method: Method, path: &str, body: Body) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path);
        let request = request
            .header("content-type", "application/json")
            .body(body)
            .unwrap();
        let response = router(self.0.clone()).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn get(&self, path: &str) -> (StatusCode, Value) {
        let (status, body) = self.send(Method::GET, path, Body::empty()).await;
        (status, serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    async fn post(&self, path: &str, body: &Value) -> StatusCode {
        self.send(Method::POST, path, Body::from(body.to_string()))
            .await
            .0
    }

    /// How often the database is asked meanwhile.
    async fn asked<T>(&self, work: impl Future<Output = T>) -> (T, u64) {
        let before = self.0.source.asked();
        let result = work.await;
        (result, self.0.source.asked() - before)
    }
}

#[tokio::test]
async fn a_user_is_asked_for_once_and_renamed_at_once() {
    let service = Service::new().await;
    let ((status, user), asked) = service.asked(service.get("/users/1")).await;
    assert_eq!((status, &user["name"], asked), (StatusCode::OK, &json!("Ann"), 1));
    let ((_, again), asked) = service.asked(service.get("/users/1")).await;
    assert_eq!((again, asked), (user, 0));
    let (status, _) = service.send(Method::PUT, "/users/1", Body::from("Anne")).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(service.get("/users/1").await.1["name"], "Anne");
    let (status, _) = service.send(Method::PUT, "/users/99", Body::from("Nobody")).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_user_that_is_not_there_is_remembered_until_it_is_added() {
    let service = Service::new().await;
    for (path, queries) in [
        ("/users/4", 1),
        ("/users/4", 0),
        ("/users/by-email/di@two.example", 1),
    ] {
        let ((status, _), asked) = service.asked(service.get(path)).await;
        assert_eq!((status, asked), (StatusCode::NOT_FOUND, queries), "{path}");
    }
    assert_eq!(service.get("/orgs/2/members").await.1, 1);
    let new = json!({ "org": 2, "name": "Di", "email": "di@two.example" });
    assert_eq!(service.post("/users", &new).await, StatusCode::OK);
    assert_eq!(service.get("/users/4").await.1["name"], "Di");
    assert_eq!(service.get("/users/by-email/di@two.example").await.1["id"], 4);
    assert_eq!(service.get("/orgs/2/members").await.1, 2);
    assert_eq!(service.post("/users", &new).await, StatusCode::CONFLICT);
}

#[tokio::test]
async fn users_that_are_missing_come_with_one_query() {
    let service = Service::new().await;
    service.get("/users/2").await;
    let ((_, users), asked) = service.asked(service.get("/users?ids=3,2,1,9")).await;
    let names: Vec<_> = users
        .as_array()
        .unwrap()
        .iter()
        .map(|user| user["name"].clone())
        .collect();
    assert_eq!((names, asked), (vec![json!("Cy"), json!("Bob"), json!("Ann")], 1));
}

#[tokio::test]
async fn posts_of_several_organisations_appear_together() {
    let service = Service::new().await;
    assert_eq!(service.get("/orgs/1/posts").await.1, json!(["News", "Hello"]));
    assert_eq!(service.get("/orgs/2/posts").await.1, json!([]));
    let new = json!([{ "org": 1, "title": "More" }, { "org": 2, "title": "First" }]);
    assert_eq!(service.post("/posts", &new).await, StatusCode::CREATED);
    assert_eq!(
        service.get("/orgs/1/posts").await.1,
        json!(["More", "News", "Hello"])
    );
    assert_eq!(service.get("/orgs/2/posts").await.1, json!(["First"]));
    assert_eq!(service.get("/orgs/1/posts?page=1").await.1, json!([]));
}

#[tokio::test]
async fn a_flag_is_cached_and_switched() {
    let service = Service::new().await;
    assert_eq!(service.get("/flags/beta").await.1, true);
    let ((_, again), asked) = service.asked(service.get("/flags/beta")).await;
    assert_eq!((again, asked), (json!(true), 0));
    let (status, _) = service
        .send(Method::PUT, "/flags/beta/false", Body::empty())
        .await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(service.get("/flags/beta").await.1, false);
}

#[tokio::test]
async fn a_handler_is_tested_without_a_database_behind_it() {
    let service = Service::new().await;
    let user = service::User {
        id: 7,
        org: 1,
        name: "Eve".into(),
        email: "eve@one.example".into(),
    };
    service
        .0
        .cacheme
        .set(&UserNode { id: 7 }, Some(user))
        .await
        .unwrap();
    let ((_, found), asked) = service.asked(service.get("/users/7")).await;
    assert_eq!((&found["name"], asked), (&json!("Eve"), 0));
    let (_, stats) = service.send(Method::GET, "/stats", Body::empty()).await;
    assert!(stats.contains("UserNode"), "{stats}");
}
