// What `qatlas step` prints: every step of one operation, why it is made, and what a power cut behind it would
// leave; then what the orders come to in which a disk may bring to rest what lies between two flushes.

package import Cartography
import Qcow
import QcowFormat
import Storage

/// The steps of an operation as text or JSON.
package struct StepText {
  private let title: String
  private let trace: StepTrace
  private let survey: CrashSurvey

  /// `survey` has looked at all of the operation.
  package init(_ title: String, _ trace: StepTrace, _ survey: CrashSurvey) {
    self.title = title
    self.trace = trace
    self.survey = survey
  }

  /// "1 leak, the guest reads the old bytes".
  package static func words(_ verdict: CrashVerdict) -> String {
    [verdict.words, verdict.guestWords].filter { !$0.isEmpty }.joined(separator: ", ")
  }

  /// The first error of a crash in the words of a check; nil without one.
  package static func error(_ verdict: CrashVerdict) -> String? {
    verdict.firstError.map { finding in
      let line = CheckText.lines(of: finding, program: "check").split(separator: "\n").first ?? ""
      return Escaping.human(String(line))
    }
  }

  /// "16 of 16 orders of 4 writes: 12 clean, 4 with leaks only; the worst: 1 leak".
  package static func words(_ orders: CrashSurvey.Orders) -> String {
    let looked = orders.isAll ? "all \(orders.states)" : "\(orders.states)"
    let harmless = orders.clean + orders.leaking
    var text =
      "\(looked) combinations of \(counted(orders.writes, "write")) looked at: \(orders.clean) clean, "
      + "\(orders.leaking) with leaks only"
    if harmless < orders.states { text += ", \(orders.states - harmless) with errors" }
    return text + "; the worst: " + words(orders.worst)
  }

  /// The steps at whose end a flush comes, or the operation ends.
  private var windows: [Int] {
    (0..<trace.count).filter { index in
      guard let event = trace.event(index)?.event else { return false }
      return index + 1 == trace.count && event.kind != .flush
        || index + 1 < trace.count && event.kind != .flush && trace.event(index + 1)?.event.kind == .flush
    }
  }

  /// Prints the steps, for people or as one JSON object.
  package func write(json: Bool, output: @escaping (String) -> Void) {
    var stream = ReportStream(json: json, output: output)
    stream.open("{")
    stream.add("operation", .string(title))
    stream.line("operation  \(Escaping.human(title))  \(counted(trace.count, "step"))")
    stream.open("[", "steps")
    for index in 0..<trace.count {
      stream.add(nil, .object(record(index)))
      stream.line(line(index))
    }
    stream.close("]")
    stream.open("[", "orders")
    for index in windows {
      guard let orders = survey.orders(around: trace.events(behind: index)) else { continue }
      stream.add(nil, .object(record(index, orders)))
      stream.line("any order up to step \(index + 1)  \(Self.words(orders))")
    }
    stream.close("]")
    stream.close("}\n")
  }

  private func line(_ index: Int) -> String {
    let step = trace[index]
    let effect = step.reachesFile ? "\(step.bytes) bytes" : step.action == "flush" ? "flush" : "in memory"
    var line = "\(index + 1)  \(step.action)  \(Escaping.human(step.text))"
    if step.action != "look up" { line += "  (\(effect))" }
    if let verdict = survey.verdict(behind: trace.events(behind: index)) {
      line += "; power cut: \(Self.words(verdict))"
      if let error = Self.error(verdict) { line += " (\(error))" }
    }
    return line
  }

  private func record(_ index: Int) -> [Field] {
    let step = trace[index]
    var fields = [
      Field("step", .number(UInt64(index + 1))), Field("file", .number(UInt64(step.file.value))),
      Field("action", .string(step.action)), Field("what", .string(step.place)),
      Field("before", .string(step.before)), Field("after", .string(step.after)),
      Field("why", .string(step.why)),
    ]
    if let event = trace.event(index)?.event, step.reachesFile {
      fields += [Field("offset", .number(event.offset)), Field("bytes", .number(event.count))]
    }
    if let verdict = survey.verdict(behind: trace.events(behind: index)) {
      fields.append(Field("power-cut", .object(Self.record(verdict))))
    }
    return fields
  }

  private func record(_ index: Int, _ orders: CrashSurvey.Orders) -> [Field] {
    [
      Field("up-to-step", .number(UInt64(index + 1))), Field("writes", .number(UInt64(orders.writes))),
      Field("looked-at", .number(UInt64(orders.states))), Field("all", .bool(orders.isAll)),
      Field("clean", .number(UInt64(orders.clean))), Field("leaks-only", .number(UInt64(orders.leaking))),
      Field("worst", .object(Self.record(orders.worst))),
    ]
  }

  private static func record(_ verdict: CrashVerdict) -> [Field] {
    var fields = [Field("errors", .number(verdict.errors)), Field("leaks", .number(verdict.leaks))]
    if let failure = verdict.failure { fields.append(Field("no-check", .string(failure))) }
    if let error = error(verdict) { fields.append(Field("first-error", .string(error))) }
    if !verdict.guestWords.isEmpty { fields.append(Field("guest", .string(verdict.guestWords))) }
    return fields
  }
}
