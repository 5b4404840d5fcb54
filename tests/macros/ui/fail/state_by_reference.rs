use cacheme::{LoadContext, Node};

struct Pool;

#[derive(Node, Clone)]
#[node(value = u64, state = &'static Pool, load = load)]
struct ByReference(u64);

#[derive(Node, Clone)]
#[node(value = u64, state = "Pool", load = load)]
struct Quoted(u64);

async fn load<N>(_: &N, _: &mut LoadContext<N>) -> Result<u64, std::io::Error> {
    Ok(1)
}

fn main() {}
