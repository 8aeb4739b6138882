//! As much of PostgreSQL's protocol as a writer needs: simple queries on a connection that is trusted. The other servers of
//! this bench speak MySQL's; one crate more for one stack would have to be built by everyone.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::writer::Outcome;

/// The longest message that is read.
const LIMIT: usize = 64 << 20;

/// An open connection.
pub struct Connection(TcpStream);

/// What a statement gave.
pub enum Answer {
    /// Rows, as text.
    Rows(Vec<Vec<String>>),
    /// The server said no: SQLSTATE and message.
    No(String, String),
}

fn bad(what: &str) -> String {
    format!("PostgreSQL: {what}")
}

impl Connection {
    /// Without a password: the server trusts this network.
    pub async fn open(address: SocketAddr, user: &str, database: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.map_err(|e| e.to_string())?;
        stream.set_nodelay(true).map_err(|e| e.to_string())?;
        let mut open = Self(stream);
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        for text in ["user", user, "database", database] {
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        let mut message = (body.len() as u32 + 4).to_be_bytes().to_vec();
        message.extend(body);
        open.0.write_all(&message).await.map_err(|e| e.to_string())?;
        match open.answer().await? {
            Answer::Rows(_) => Ok(open),
            Answer::No(state, why) => Err(format!("{state} {why}")),
        }
    }

    /// One statement.
    pub async fn query(&mut self, sql: &str) -> Result<Answer, String> {
        let mut message = vec![b'Q'];
        message.extend((sql.len() as u32 + 5).to_be_bytes());
        message.extend(sql.as_bytes());
        message.push(0);
        self.0.write_all(&message).await.map_err(|e| e.to_string())?;
        self.answer().await
    }

    /// Everything up to ReadyForQuery.
    async fn answer(&mut self) -> Result<Answer, String> {
        let (mut rows, mut no) = (Vec::new(), None);
        loop {
            let mut head = [0; 5];
            if let Err(error) = self.0.read_exact(&mut head).await {
                // A refusal at the door is the last that is said.
                return no.ok_or_else(|| error.to_string());
            }
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if !(4..=LIMIT).contains(&length) {
                return Err(bad("a message of an impossible length"));
            }
            let mut body = vec![0; length - 4];
            self.0.read_exact(&mut body).await.map_err(|e| e.to_string())?;
            match head[0] {
                b'Z' => return Ok(no.unwrap_or(Answer::Rows(rows))),
                b'E' => no = Some(refusal(&body)),
                b'D' => rows.push(row(&body)?),
                b'R' if body != [0, 0, 0, 0] => return Err(bad("it wants a password")),
                _ => {}
            }
        }
    }
}

/// Fields of an ErrorResponse: a letter, text, 0.
fn refusal(body: &[u8]) -> Answer {
    let fields: Vec<String> = body.split(|b| *b == 0).map(|f| String::from_utf8_lossy(f).into_owned()).collect();
    let field = |letter: char| fields.iter().find_map(|f| f.strip_prefix(letter)).unwrap_or_default().to_owned();
    Answer::No(field('C'), field('M'))
}

/// A DataRow: a count, then a length and text for each column.
fn row(body: &[u8]) -> Result<Vec<String>, String> {
    let mut rest = body.get(2..).ok_or_else(|| bad("a short row"))?;
    let mut columns = Vec::new();
    while let Some((length, more)) = rest.split_first_chunk::<4>() {
        let length = i32::from_be_bytes(*length).max(0) as usize;
        let text = more.get(..length).ok_or_else(|| bad("a short row"))?;
        columns.push(String::from_utf8_lossy(text).into_owned());
        rest = &more[length..];
    }
    Ok(columns)
}

/// Read-only, starting or ending, no such table: refused before anything was written. All else leaves it open.
pub fn judge(answer: Result<Answer, String>) -> Outcome {
    match answer {
        Ok(Answer::Rows(_)) => Outcome::Acked,
        Ok(Answer::No(state, why)) if ["25006", "57P03", "42P01"].contains(&state.as_str()) => Outcome::Refused(format!("{state} {why}")),
        Ok(Answer::No(state, why)) => Outcome::InDoubt(format!("{state} {why}")),
        Err(why) => Outcome::InDoubt(why),
    }
}
