// The figures of fragmentation in the short words of the screen: label and value, in two widths.

import QcowFormat
import Qcow
import Storage

extension FragmentationWords {
  /// One line of the pane with numbers; an empty label stands for an empty line.
  package struct NumberLine {
    /// What is told.
    package var label: String
    /// The number with its unit.
    package var value = ""
  }

  /// "20.34%".
  private static func percent(_ value: Double) -> String { Notation.decimals(value, 2) + "%" }
  private static func one(_ value: Double) -> String { Notation.decimals(value, 1) }

  /// The pane with numbers, for 36 columns or more, or for 23.
  package func numbers(_ choice: ClusterChoice, isWide: Bool) -> [NumberLine] {
    isWide ? wideNumbers(choice) : narrowNumbers(choice)
  }

  private func wideNumbers(_ choice: ClusterChoice) -> [NumberLine] {
    let figures = fragmentation.figures(choice)
    func line(_ label: String, _ value: String) -> NumberLine { NumberLine(label: label, value: value) }
    func line(_ label: String, _ value: UInt64) -> NumberLine {
      NumberLine(label: label, value: String(value))
    }
    let gap = NumberLine(label: "")
    var lines = [
      line("allocated clusters", fragmentation.all.clusters),
      line("  of them standard", fragmentation.standard.clusters),
      line("  of them compressed", fragmentation.compressed.clusters), gap,
      line("runs, in guest order", figures.runs.count),
      line("  in host order", fragmentation.knowsHostOrder ? String(figures.hostRuns.count) : "unknown"),
      line("  best possible", figures.bestPossible),
      line("  mean, median", Self.one(figures.runs.mean) + ", " + Self.one(figures.runs.median) + " cl."),
      line("  longest", "\(figures.runs.longest) cl."), gap,
    ]
    let shift = figures.shifts.top(1).first
    let share = Self.percent(shift?.clusters ?? 0, of: figures.clusters)
    lines += [
      line("different shifts", (figures.shifts.isExact ? "" : "about ") + String(figures.shifts.distinct)),
      line(
        "  most common",
        shift.map { "\($0.shift > 0 ? "+" : "")\($0.shift), \(Self.one(share))%" } ?? "-"),
      line("jumps forward, back", "\(figures.forward.count), \(figures.backward.count)"),
      line("  mean distance", Notation.compact(Self.bytes(figures.meanJump))),
      line(
        "  over tables only", fragmentation.knowsHostOrder ? String(figures.overMetadata.count) : "unknown"),
    ]
    lines.append(line("extra reads, avoidable", ""))
    for cost in figures.reads {
      lines.append(
        line("  requests of \(Notation.compact(cost.requestSize))", "\(cost.extra), \(cost.avoidable)"))
    }
    lines += [
      line("free runs, largest", "\(fragmentation.free.runs), \(fragmentation.free.largest) cl."), gap,
      line("qemu-img check says", Self.percent(fragmentation.tally.percentage)),
    ]
    guard fragmentation.hasCompressed else { return lines }
    return lines + [
      line("  without compressed", Self.percent(fragmentation.tally.percentageWithoutCompressed)),
      NumberLine(label: "  (compressed always count there)"),
    ]
  }

  private func narrowNumbers(_ choice: ClusterChoice) -> [NumberLine] {
    let figures = fragmentation.figures(choice)
    func line(_ label: String, _ value: String) -> NumberLine { NumberLine(label: label, value: value) }
    func line(_ label: String, _ value: UInt64) -> NumberLine {
      NumberLine(label: label, value: String(value))
    }
    let shift = figures.shifts.top(1).first
    let share = Self.percent(shift?.clusters ?? 0, of: figures.clusters)
    return [
      line("allocated", fragmentation.all.clusters),
      line("compressed", fragmentation.compressed.clusters),
      line("runs (best)", "\(figures.runs.count) (\(figures.bestPossible))"),
      line("host order", fragmentation.knowsHostOrder ? String(figures.hostRuns.count) : "unknown"),
      line("mean, median", Self.one(figures.runs.mean) + ", " + Self.one(figures.runs.median)),
      line("longest", figures.runs.longest),
      line(
        "shifts, top", (figures.shifts.isExact ? "" : "~") + "\(figures.shifts.distinct), \(Self.one(share))%"
      ),
      line("jumps ahead", figures.forward.count),
      line("jumps back", figures.backward.count),
      line("over tables", fragmentation.knowsHostOrder ? String(figures.overMetadata.count) : "unknown"),
      line("extra reads 1M", figures.reads.count > 1 ? figures.reads[1].extra : 0),
      line("free runs", fragmentation.free.runs),
      line("qemu-img says", Self.percent(fragmentation.tally.percentage)),
      line("without compr.", Self.percent(fragmentation.tally.percentageWithoutCompressed)),
    ]
  }

  /// "8.4G-11.6G 6120 runs".
  package func text(of group: RegionFigures.Group) -> String {
    "\(range(group.range)) \(counted(group.total.runs, "run"))"
  }
}
