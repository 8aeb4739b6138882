//! Tables and colours for a terminal of a known width, or for none. Pure: text in, text out.

use comfy_table::{Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use crate::pair::guide::Class;

/// How to draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    /// ANSI colours.
    pub colour: bool,
    /// Columns of the terminal; None: no terminal, lines are as long as they are.
    pub width: Option<u16>,
}

impl Paint {
    /// For a pipe.
    pub const PLAIN: Self = Self { colour: false, width: None };

    /// A text in the colour of its class.
    pub fn text(self, class: Class, text: &str) -> String {
        match (self.colour, code(class)) {
            (true, Some(code)) => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }

    /// A table as kubectl draws it: aligned columns, no lines. Long cells are wrapped to the terminal's width.
    pub fn table(self, header: &[&str], rows: Vec<Vec<Drawn>>) -> String {
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        if !header.is_empty() {
            table.set_header(header.iter().map(|h| Cell::new(h).set_alignment(CellAlignment::Left)));
        }
        match self.width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(40));
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        if self.colour {
            table.enforce_styling();
        } else {
            table.force_no_tty();
        }
        for row in rows {
            table.add_row(row.into_iter().map(|d| d.cell()));
        }
        table.column_iter_mut().for_each(|c| {
            c.set_padding((0, 2));
        });
        let drawn = table.to_string();
        drawn.lines().map(str::trim_end).fold(String::new(), |text, line| text + line + "\n")
    }
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawn {
    text: String,
    class: Class,
}

impl Drawn {
    fn cell(self) -> Cell {
        let cell = Cell::new(self.text);
        match self.class {
            Class::Rest => cell,
            Class::Work => cell.fg(Color::Cyan),
            Class::Wait => cell.fg(Color::Yellow),
            Class::Refusal | Class::Alarm => cell.fg(Color::Red),
        }
    }
}

impl<T: ToString> From<T> for Drawn {
    fn from(text: T) -> Self {
        Self { text: text.to_string(), class: Class::Rest }
    }
}

/// A cell in the colour of a class.
pub fn drawn(class: Class, text: impl ToString) -> Drawn {
    Drawn { text: text.to_string(), class }
}

fn code(class: Class) -> Option<u8> {
    match class {
        Class::Rest => Some(32),
        Class::Work => Some(36),
        Class::Wait => Some(33),
        Class::Refusal | Class::Alarm => Some(31),
    }
}

/// `[######----]  60 %`; `done` beyond `total` counts as all.
pub fn bar(done: i64, total: i64, width: usize) -> String {
    let share = if total <= 0 { 0.0 } else { (done.max(0) as f64 / total as f64).min(1.0) };
    let full = (share * width as f64).floor() as usize;
    format!("[{}{}] {:3} %", "#".repeat(full), "-".repeat(width - full), (share * 100.0).floor() as u8)
}
