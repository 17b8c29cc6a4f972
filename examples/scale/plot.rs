//! The table as a picture.

use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::measure::Cell;
use crate::support::Failure;

const COLOURS: [(&str, &str, RGBColor); 4] = [
    ("get", "one GET a job", RGBColor(150, 150, 150)),
    ("awxkit", "awxkit's wait loop", RGBColor(200, 140, 40)),
    ("monitor", "monitor", RGBColor(30, 100, 190)),
    ("push", "monitor and push", RGBColor(20, 150, 90)),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// How late ends are seen, and what that costs, against the number of jobs.
pub(crate) fn draw(file: &Path, cells: &[Cell]) -> Result<(), Failure> {
    let root = SVGBackend::new(file, (960, 380)).into_drawing_area();
    root.fill(&WHITE)?;
    let panels = root.split_evenly((1, 2));
    let [left, right] = panels.as_slice() else {
        return Err("no panels".into());
    };
    panel(
        left,
        "seconds from a job's end to its being known (p99)",
        SeriesLabelPosition::LowerRight,
        cells,
        |cell| cell.delay_p99_s.max(0.001),
    )?;
    panel(
        right,
        "requests in the life of a job",
        SeriesLabelPosition::MiddleRight,
        cells,
        |cell| cell.requests_a_job,
    )?;
    root.present()?;
    Ok(())
}

fn panel(
    area: &Area<'_>,
    title: &str,
    legend: SeriesLabelPosition,
    cells: &[Cell],
    value: impl Fn(&Cell) -> f64,
) -> Result<(), Failure> {
    let range = |values: Vec<f64>| {
        let low = values.iter().copied().fold(f64::INFINITY, f64::min);
        let high = values.iter().copied().fold(0.0, f64::max);
        (low / 1.5, high * 1.5)
    };
    let (left, right) = range(cells.iter().map(|cell| cell.jobs as f64).collect());
    let (low, high) = range(cells.iter().map(&value).collect());
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 15))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(52)
        .build_cartesian_2d((left..right).log_scale(), (low..high).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("live jobs")
        .x_label_formatter(&f64::to_string)
        .y_label_formatter(&f64::to_string)
        .light_line_style(RGBColor(240, 240, 240))
        .draw()?;
    for (way, label, colour) in COLOURS {
        let points: Vec<(f64, f64)> = cells
            .iter()
            .filter(|cell| cell.way == way)
            .map(|cell| (cell.jobs as f64, value(cell)))
            .collect();
        if points.is_empty() {
            continue;
        }
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)).point_size(3))?
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}
