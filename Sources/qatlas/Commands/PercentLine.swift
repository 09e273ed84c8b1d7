// How far a copy is, as the genuine tools show it: a line of per cents that overwrites itself.

import ArgumentParser
import Cartography
import Glibc

/// What a command tells while it works and besides.
struct ProgressFlags: ParsableArguments {
  @Flag(name: [.customShort("p"), .customLong("progress")], help: "Show how far it is.") var showsProgress =
    false
  @Flag(name: [.customShort("q"), .customLong("quiet")], help: "Print nothing but errors.") var quiet = false

  /// The line of this command; a new one is worth while every `step` per cents.
  func line(_ streams: Streams, step: Float) -> PercentLine {
    PercentLine(streams, isAsked: showsProgress, isQuiet: quiet, step: step)
  }
}

/// The progress of one command.
final class PercentLine {
  private let streams: Streams
  private let isAsked: Bool
  private let isShown: Bool
  /// Per cents that make a new line worth while.
  private let step: Float
  private var current: Float = 0
  private var last: Float = 0

  /// Shown on standard output where it is asked for; else on the error stream if that is a terminal, but not in
  /// place of a genuine tool.
  init(_ streams: Streams, isAsked: Bool, isQuiet: Bool, step: Float) {
    self.streams = streams
    self.isAsked = isAsked
    self.step = step
    isShown = !isQuiet && (isAsked || !Tool.isStandIn && isatty(STDERR_FILENO) == 1)
  }

  /// So many per cent are done.
  func show(_ percent: Float) {
    current = min(percent, 100)
    guard current > last + step || current < last - step || current == 100 || current == 0 else { return }
    last = current
    put("    (\(Notation.decimals(Double(current), 2))/100%)", "\r")
  }

  /// So many per cent more are done.
  func add(_ percent: Float) { show(current + percent) }

  func end() { put("", "\n") }

  private func put(_ text: String, _ end: Unicode.Scalar) {
    if isShown { streams.progress(text, end: end, onOutput: isAsked) }
  }
}
