// What `qatlas discards` prints: what alignment drops, the requests that lose something, and what each policy makes of
// the image.

package import Cartography
import QcowFormat
import Storage

/// A trace of discards as text or JSON.
package struct DiscardsText {
  /// Losses that people see without asking for all.
  private static let shown = 20
  private let trace: DiscardTrace

  /// The texts of a trace that is done.
  package init(_ trace: DiscardTrace) { self.trace = trace }

  /// "8 KiB of 64 KiB (12.5%)", or "nothing".
  package static func share(_ part: UInt64, of whole: UInt64) -> String {
    guard whole > 0, part > 0 else { return "nothing" }
    let percent = Notation.decimals(Double(part) / Double(whole) * 100, 1)
    return "\(Notation.human(part)) of \(Notation.human(whole)) (\(percent)%)"
  }

  /// What the lines say, in sentences.
  package static func sentences(_ trace: DiscardTrace) -> [String] {
    let counts = trace.counts
    var lines = [
      "\(counted(counts.discards, "discard")) of \(Notation.human(counts.asked)) in "
        + "\(counted(counts.lines, "line")); \(counted(counts.writes, "other request")) that "
        + "\(counts.writes == 1 ? "changes" : "change") the disk"
    ]
    if trace.dropsAll {
      lines.append(
        "an image of version 2 with a backing file drops every discard: no entry could say 'zeroes'")
    }
    lines.append(
      "whole clusters only: \(share(counts.lostByClusters, of: counts.asked)) dropped, by "
        + "\(counted(counts.losing, "discard")), \(counts.losingAll) of them as a whole")
    if trace.policies.contains(where: \.bySubclusters) {
      lines.append(
        "whole subclusters: \(share(counts.lostBySubclusters, of: counts.asked)) dropped, by "
          + "\(counted(counts.losingBySubclusters, "discard")), \(counts.losingAllBySubclusters) of them as a whole"
      )
    }
    return lines
  }

  /// What keeps the figures from being about every line.
  package static func remarks(_ trace: DiscardTrace) -> [String] {
    let counts = trace.counts
    var remarks: [String] = []
    if let failure = trace.failure {
      remarks.append("the file of requests was not read to its end: \(failure)")
    }
    if let first = counts.firstNotUnderstood {
      remarks.append("\(counted(counts.notUnderstood, "line")) not understood; \(first)")
    }
    if counts.outside > 0 {
      remarks.append("\(counted(counts.outside, "request")) left out, not wholly on the disk")
    }
    if let refusal = trace.refusal { remarks.append("not played on the image: \(refusal)") }
    for (policy, outcome) in zip(trace.policies, trace.outcomes) {
      if let first = outcome.firstFailure {
        remarks.append("\(policy.name): \(counted(outcome.failures, "request")) refused; \(first)")
      }
    }
    return remarks
  }

  /// One loss.
  package static func record(_ loss: DiscardLoss) -> [Field] {
    [
      Field("line", .number(loss.line)), Field("guest", .offset(loss.range.lowerBound)),
      Field("length", .number(UInt64(loss.range.count))), Field("dropped", .number(loss.byClusters)),
      Field("dropped-by-subclusters", .number(loss.bySubclusters)),
    ]
  }

  private func record(_ policy: DiscardPolicy, _ outcome: DiscardOutcome) -> [Field] {
    [
      Field("policy", .string(policy.name)), Field("options", .string(policy.options)),
      Field("dropped", .number(trace.lostBytes(policy))),
      Field("data-given-up", .number(outcome.dataBytes.value)),
      Field("clusters-unmapped", .number(outcome.unmapped)), Field("clusters-kept", .number(outcome.kept)),
      Field("clusters-freed", .number(outcome.freed)), Field("mapped-change", .signed(outcome.mappedChange)),
      Field("refused", .number(outcome.failures)),
    ]
  }

  /// Prints what comes behind the losses, which `stream` has been given where all are wanted.
  package func write(to stream: inout ReportStream, losses all: Bool) {
    if !all {
      stream.open("[", "losses")
      for loss in trace.losses.prefix(stream.isJSON ? trace.losses.count : Self.shown) {
        stream.record(Self.record(loss))
      }
    }
    stream.close("]")
    let counts = trace.counts
    if !all, !stream.isJSON, counts.losing > UInt64(Self.shown) {
      stream.line("... and \(counts.losing - UInt64(Self.shown)) more; --all prints them")
    }
    stream.add(
      "counts",
      .object([
        Field("lines", .number(counts.lines)), Field("discards", .number(counts.discards)),
        Field("writes", .number(counts.writes)), Field("asked", .number(counts.asked)),
        Field("dropped", .number(counts.lostByClusters)),
        Field("dropped-by-subclusters", .number(counts.lostBySubclusters)),
        Field("losing", .number(counts.losing)), Field("losing-all", .number(counts.losingAll)),
        Field("losing-by-subclusters", .number(counts.losingBySubclusters)),
        Field("losing-all-by-subclusters", .number(counts.losingAllBySubclusters)),
        Field("outside", .number(counts.outside)), Field("not-understood", .number(counts.notUnderstood)),
      ]))
    for line in Self.sentences(trace) { stream.line(line) }
    stream.open("[", "policies")
    if trace.refusal == nil {
      for (policy, outcome) in zip(trace.policies, trace.outcomes) { stream.record(record(policy, outcome)) }
    }
    stream.close("]")
    let remarks = Self.remarks(trace).map(Escaping.human)
    stream.add("notes", .array(remarks.map { .string($0) }))
    for remark in remarks { stream.line("note  \(remark)") }
    stream.close("}\n")
  }
}
