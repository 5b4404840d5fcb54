//! The main job without a server: memory over a SQLite file.

use std::time::Duration;

use cacheme::{BoxError, Cacheme, LoadContext, Node, Storage};

#[derive(Node, Clone, Debug)]
#[node(
    key = "user:{user_id}:name",
    value = String,
    tier(storage = "local", ttl = "30s"),
    tier(storage = "sqlite", ttl = "10m"),
    load = load_name
)]
struct UserNameNode {
    user_id: u64,
}

async fn load_name(node: &UserNameNode, _cx: &mut LoadContext<UserNameNode>) -> Result<String, BoxError> {
    println!("  loading the name of user {}", node.user_id);
    tokio::task::yield_now().await;
    Ok(format!("user number {}", node.user_id))
}

async fn start(file: &str) -> Result<Cacheme, Box<dyn std::error::Error>> {
    let cacheme = Cacheme::builder().build()?;
    cacheme
        .register_storage("local", Storage::open("local://tlfu?size=10000")?)
        .await?;
    let sqlite = Storage::open(&format!("sqlite://{file}"))?.with_timeout(Duration::from_secs(5));
    cacheme.register_storage("sqlite", sqlite).await?;
    cacheme.check()?;
    Ok(cacheme)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::temp_dir().join(format!("cacheme-quickstart-{}.db", std::process::id()));
    let file = file
        .to_str()
        .ok_or("the folder for temporary files has a name that is not UTF-8")?;
    let user = UserNameNode { user_id: 1 };

    let cacheme = start(file).await?;
    println!("1 000 concurrent callers, one load:");
    let calls: Vec<_> = (0..1_000)
        .map(|_| {
            let (cacheme, user) = (cacheme.clone(), user.clone());
            tokio::spawn(async move { cacheme.get(&user).await })
        })
        .collect();
    for call in calls {
        call.await??;
    }
    println!("a hit in memory: {}", cacheme.get(&user).await?);

    let cacheme = start(file).await?;
    println!("after a restart, a hit on SQLite: {}", cacheme.get(&user).await?);
    let users = [1, 2, 3].map(|user_id| UserNameNode { user_id });
    println!("three users, two of them new:");
    println!("  {:?}", cacheme.get_all(&users).await?);
    cacheme.invalidate(&user).await?;
    println!("after invalidation:");
    cacheme.get(&user).await?;
    println!("\n{}", cacheme.stats::<UserNameNode>());
    for end in ["", "-wal", "-shm"] {
        // The two side files are there only while the database is open.
        let _ = std::fs::remove_file(format!("{file}{end}"));
    }
    Ok(())
}
