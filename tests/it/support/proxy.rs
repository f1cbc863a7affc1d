//! A TCP proxy before PostgreSQL that cuts a connection while a COMMIT is under way.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

/// Which side of the commit is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees it.
    Request = 1,
    /// The server commits, and nobody hears of it.
    Reply = 2,
}

/// What a client says to commit, as the wire has it.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

#[derive(Default)]
struct Plan {
    /// What happens to the next commit; 0 is nothing.
    next: AtomicU8,
    cuts: AtomicUsize,
}

/// It listens on TCP and reaches the server by its socket.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    plan: Arc<Plan>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    pub(crate) async fn start(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (plan, socket) = (Arc::<Plan>::default(), folder.join(".s.PGSQL.5432"));
        let mut accepting = JoinSet::new();
        let shared = Arc::clone(&plan);
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(pass(client, socket.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, plan, _accepting: accepting }
    }

    /// As a setting gives it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://debunk@{}/debunk?sslmode=disable", self.address)
    }

    /// The next commit is cut.
    pub(crate) fn cut_next(&self, cut: Cut) {
        self.plan.next.store(cut as u8, Ordering::SeqCst);
    }

    /// Commits cut so far.
    pub(crate) fn cuts(&self) -> usize {
        self.plan.cuts.load(Ordering::SeqCst)
    }
}

/// Passes bytes both ways until one end closes or a commit is cut; then the client's end is reset.
async fn pass(mut client: TcpStream, socket: PathBuf, plan: Arc<Plan>) {
    let Ok(mut server) = UnixStream::connect(socket).await else { return };
    let (mut sent, mut replied) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        tokio::select! {
            read = client.read(&mut sent) => {
                let Ok(length @ 1..) = read else { return };
                let message = &sent[..length];
                if message.ends_with(COMMIT) {
                    let cut = plan.next.swap(0, Ordering::SeqCst);
                    if cut != 0 {
                        if cut == Cut::Reply as u8 {
                            server.write_all(message).await.unwrap();
                            // What it answers once it has committed.
                            assert!(0 < server.read(&mut replied).await.unwrap());
                        }
                        client.set_zero_linger().unwrap();
                        plan.cuts.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                }
                if server.write_all(message).await.is_err() { return }
            }
            read = server.read(&mut replied) => {
                let Ok(length @ 1..) = read else { return };
                if client.write_all(&replied[..length]).await.is_err() { return }
            }
        }
    }
}
