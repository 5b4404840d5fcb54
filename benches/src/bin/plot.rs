//! Draws the tables of the other binaries.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use benches::args::Args;
use plotters::prelude::*;

const USAGE: &str = "\
plot [--results FOLDER] [--plots FOLDER]

  --results  where the tables are (default benches/results)
  --plots    where the pictures go (default benches/plots)

Draws what is there of hit_ratio.tsv, throughput.tsv, framework_hit.tsv and memory.tsv.";

/// One bar.
struct Bar {
    label: String,
    value: f64,
}

fn main() {
    let args = Args::read(&["results", "plots"], USAGE);
    let results = PathBuf::from(args.one("results", "benches/results".to_owned()));
    let plots = PathBuf::from(args.one("plots", "benches/plots".to_owned()));
    if let Err(why) = fs::create_dir_all(&plots) {
        args.refuse(&format!("{}: {why}", plots.display()));
    }
    let pictures: [(&str, Draft); 4] = [
        ("hit_ratio.tsv", hit_ratio),
        ("throughput.tsv", throughput),
        ("framework_hit.tsv", framework_hit),
        ("memory.tsv", memory),
    ];
    let mut drawn = 0;
    for (file, pictures) in pictures {
        let path = results.join(file);
        let Ok(text) = fs::read_to_string(&path) else {
            eprintln!("{}: not there, not drawn", path.display());
            continue;
        };
        for picture in pictures(&Table::parse(&text)) {
            let target = plots.join(format!("{}.svg", picture.name));
            match picture.draw(&target) {
                Ok(()) => println!("{}", target.display()),
                Err(why) => args.refuse(&format!("{}: {why}", target.display())),
            }
            drawn += 1;
        }
    }
    if drawn == 0 {
        args.refuse("there was nothing to draw");
    }
}

/// A table with its titles.
struct Table {
    titles: Vec<String>,
    lines: Vec<Vec<String>>,
}

impl Table {
    fn parse(text: &str) -> Self {
        let split = |line: &str| line.split('\t').map(str::to_owned).collect::<Vec<_>>();
        let mut lines = text.lines().map(split);
        Self {
            titles: lines.next().unwrap_or_default(),
            lines: lines.collect(),
        }
    }

    fn get<'a>(&self, line: &'a [String], title: &str) -> &'a str {
        let at = self.titles.iter().position(|other| other == title);
        at.and_then(|at| line.get(at)).map_or("", String::as_str)
    }

    fn number(&self, line: &[String], title: &str) -> f64 {
        self.get(line, title).parse().unwrap_or(f64::NAN)
    }
}

/// Which pictures a table makes.
type Draft = fn(&Table) -> Vec<Picture>;

/// Horizontal bars.
struct Picture {
    name: String,
    title: String,
    unit: &'static str,
    bars: Vec<Bar>,
}

fn hit_ratio(table: &Table) -> Vec<Picture> {
    let means = table.lines.iter().filter(|line| line[0] == "mean");
    let bars = means.filter_map(|line| {
        Some(Bar {
            label: line.get(1)?.clone(),
            value: line.get(2)?.parse().ok()?,
        })
    });
    let mut bars: Vec<Bar> = bars.collect();
    bars.sort_by(|a, b| b.value.total_cmp(&a.value));
    vec![Picture {
        name: "hit_ratio".into(),
        title: "Hit ratio as share of the optimum, mean over all traces and capacities".into(),
        unit: "hit ratio / clairvoyant optimum (more is better)",
        bars,
    }]
}

fn throughput(table: &Table) -> Vec<Picture> {
    let mut heats: BTreeMap<(String, String), Vec<Bar>> = BTreeMap::new();
    for line in &table.lines {
        let cell = |title| table.get(line, title).to_owned();
        let bars = heats.entry((cell("job"), cell("capacity"))).or_default();
        bars.push(Bar {
            label: format!("{} threads, {}", cell("threads"), cell("cache")),
            value: table.number(line, "cpu ratio median"),
        });
    }
    let picture = |((job, capacity), bars)| Picture {
        title: format!("{job}, {capacity} entries"),
        name: format!("throughput_{job}_{capacity}"),
        unit: "processor time an operation / that of quick_cache (less is better)",
        bars,
    };
    heats.into_iter().map(picture).collect()
}

fn framework_hit(table: &Table) -> Vec<Picture> {
    let of = |key: &'static str| {
        let lines = table.lines.iter();
        let lines =
            lines.filter(move |line| table.get(line, "workers") == "1" && table.get(line, "key") == key);
        let mut bars: Vec<Bar> = lines
            .map(|line| Bar {
                label: table.get(line, "contender").to_owned(),
                value: table.number(line, "cpu ns median"),
            })
            .collect();
        bars.sort_by(|a, b| a.value.total_cmp(&b.value));
        bars
    };
    vec![Picture {
        name: "framework_hit".into(),
        title: "A hit with a string key, key written, load at hand".into(),
        unit: "ns (less is better)",
        bars: of("string"),
    }]
}

fn memory(table: &Table) -> Vec<Picture> {
    let bars = table.lines.iter().map(|line| Bar {
        label: line[0].clone(),
        value: table.number(line, "bytes an entry"),
    });
    let mut bars: Vec<Bar> = bars.collect();
    bars.sort_by(|a, b| a.value.total_cmp(&b.value));
    vec![Picture {
        name: "memory".into(),
        title: "Memory of a full cache from u64 to u64".into(),
        unit: "live heap bytes an entry (less is better)",
        bars,
    }]
}

impl Picture {
    fn draw(&self, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
        let bars: Vec<&Bar> = self.bars.iter().filter(|bar| bar.value.is_finite()).collect();
        let height = 110 + 26 * bars.len() as u32;
        let root = SVGBackend::new(path, (900, height)).into_drawing_area();
        root.fill(&WHITE)?;
        let longest = bars.iter().map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let mut chart = ChartBuilder::on(&root)
            .caption(&self.title, ("sans-serif", 20))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(330)
            .build_cartesian_2d(0.0..longest * 1.12, (0..bars.len()).into_segmented())?;
        let label = |at: &SegmentValue<usize>| match at {
            SegmentValue::CenterOf(at) if *at < bars.len() => bars[bars.len() - 1 - at].label.clone(),
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .y_labels(bars.len())
            .y_label_formatter(&label)
            .x_desc(self.unit)
            .draw()?;
        // The first bar is the topmost.
        for (at, bar) in bars.iter().rev().enumerate() {
            let ours = bar.label.contains("cacheme");
            let colour = if ours {
                RGBColor(0, 114, 178)
            } else {
                RGBColor(170, 170, 170)
            };
            let corners = [
                (0.0, SegmentValue::Exact(at)),
                (bar.value, SegmentValue::Exact(at + 1)),
            ];
            let mut shape = Rectangle::new(corners, colour.filled());
            shape.set_margin(3, 3, 0, 0);
            chart.draw_series(std::iter::once(shape))?;
            let text = if bar.value < 10.0 {
                format!("{:.3}", bar.value)
            } else {
                format!("{:.0}", bar.value)
            };
            let place = (bar.value + longest * 0.01, SegmentValue::CenterOf(at));
            chart.draw_series(std::iter::once(Text::new(text, place, ("sans-serif", 14))))?;
        }
        root.present()?;
        Ok(())
    }
}
