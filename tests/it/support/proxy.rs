//! A TCP proxy before PostgreSQL that cuts a connection while a COMMIT is under way.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::JoinSet;

/// Which side of the commit is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// The server never sees it.
    Request,
    /// The server commits, and nobody hears of it.
    Reply,
}

/// What a client says to commit, as the wire has it.
const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

#[derive(Default)]
struct Plan {
    /// What happens to the commit of a transaction that carries these bytes.
    next: Mutex<Option<(Cut, [u8; 16])>>,
    cuts: AtomicUsize,
}

impl Plan {
    /// What happens to the commit of what was carried, if it is the one that waits for it.
    fn take(&self, carried: &[u8]) -> Option<Cut> {
        let mut next = self.next.lock().unwrap();
        let (cut, trace) = (*next)?;
        let meant = carried.windows(trace.len()).any(|bytes| bytes == trace);
        meant.then(|| {
            *next = None;
            cut
        })
    }
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

    /// The next commit of a transaction that carries a span of this trace is cut.
    pub(crate) fn cut_next(&self, cut: Cut, trace: u128) {
        *self.plan.next.lock().unwrap() = Some((cut, trace.to_be_bytes()));
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
    let mut carried = Vec::new();
    loop {
        tokio::select! {
            read = client.read(&mut sent) => {
                let Ok(length @ 1..) = read else { return };
                let message = &sent[..length];
                carried.extend_from_slice(message);
                if message.ends_with(COMMIT)
                    && let Some(cut) = plan.take(&std::mem::take(&mut carried))
                {
                    if cut == Cut::Reply {
                        server.write_all(message).await.unwrap();
                        // What it answers once it has committed.
                        assert!(0 < server.read(&mut replied).await.unwrap());
                    }
                    client.set_zero_linger().unwrap();
                    plan.cuts.fetch_add(1, Ordering::SeqCst);
                    return;
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
