// The lab: a workload on several policies side by side. Starting a run, letting it go on between two pictures,
// stepping, and beginning again. Nothing here waits: the loop calls in slices.

import Cartography
import CellScreen
import Qcow
import QcowFormat
import ToolText

extension ScreenKind {
  /// The screen of the lab.
  package static let lab = ScreenKind("lab")
}

extension Context {
  /// Where its keys are.
  package static let lab = Context("lab", title: "Lab", [])
}

extension Contexts {
  static let lab = Contexts(.lab)
}

final class LabScreen: Screen {
  static let kind = ScreenKind.lab
  static let contexts: [Context] = [.lab]

  let desk: Desk
  /// The last run.
  private var lab: Lab?
  /// The policy that has the cursor.
  private var selected = 0
  private var isRunning = false
  /// Requests to do before the next picture.
  private var target = 0
  /// Requests between two pictures while it runs.
  private var perFrame = 1

  init(_ desk: Desk) { self.desk = desk }

  // MARK: Words

  var context: Context { .lab }

  var titles: [String] {
    guard let lab else { return [" lab", "lab"] }
    let configuration = lab.configuration
    let name = configuration.workload.rawValue
    let progress = "operation \(lab.operation) of \(lab.total)"
    let disk =
      "\(Notation.compact(configuration.size)) in \(Notation.compact(configuration.clusterSize)) clusters"
    return [
      " lab: \(name), seed \(configuration.seed), \(disk), \(progress)",
      " lab: \(name), seed \(configuration.seed), \(progress)",
      "\(name), seed \(configuration.seed), op \(lab.operation) of \(lab.total)",
      "\(name), op \(lab.operation) of \(lab.total)", "\(lab.operation)/\(lab.total)",
    ]
  }

  /// How fast it runs.
  var states: [String]? {
    guard let lab else { return [""] }
    let state = lab.isDone ? "done" : isRunning ? "running" : "paused"
    return ["\(state), \(perFrame) per picture", state, ""]
  }

  var hints: [HintRule] {
    [
      HintRule([.left, .right], "policy"), HintRule(.labRun), HintRule(.labStep),
      HintRule(.labFaster, .labSlower, separator: "/"), HintRule(.labRestart), HintRule(.prompt),
      HintRule(.help), .back,
    ]
  }

  var cursorText: String { "" }
  var hidesLesson: Bool { true }

  /// The last request in words.
  var status: String? {
    guard let lab, let request = lab.request else { return "" }
    let range = "0x\(Notation.hex(request.offset)) +\(DiskSize.short(ByteCount(request.length)))"
    switch request.kind {
    case .write: return "write \(range)"
    case .zero: return "zero \(range)"
    case .discard: return "discard \(range)"
    case .read: return ""
    }
  }

  func draw(_ frame: ScreenFrame, on canvas: inout Canvas) {
    guard let lab else {
      let inner = canvas.frame(frame.body, title: "Lab", focused: true, glyphs: desk.glyphs)
      canvas.put(
        "no run is open; \(CommandID.lab) WORKLOAD starts one", at: inner.x + 1, inner.y,
        maxWidth: inner.width - 2)
      canvas.cursor = Point(x: inner.x, y: inner.y)
      return
    }
    LabDrawing(lab: lab, selected: selected, glyphs: desk.glyphs).draw(frame.body, on: &canvas)
  }

  // MARK: Answers

  func settle() { selected = max(0, min(selected, (lab?.runs.count ?? 1) - 1)) }

  func move(_ movement: Movement, _ count: Int) {
    selected = movement.row(from: selected, count, in: lab?.runs.count ?? 0, page: 1)
  }

  func focusNext(_ step: Int) {
    let count = max(1, lab?.runs.count ?? 1)
    selected = (selected + step + count) % count
  }

  func click(at point: Point, _ frame: ScreenFrame) {
    let columns = LabColumn.columns(lab?.runs.count ?? 0, selected: selected, in: frame.body)
    if let column = columns.first(where: { $0.area.contains(point) }) { selected = column.index }
  }

  func find(_ text: String, forward: Bool) throws(CommandError) -> Bool {
    throw CommandError("there is nothing to find in the lab")
  }

  // MARK: Time

  var isAnimating: Bool { isRunning && lab != nil }

  func beginFrame() {
    guard isAnimating, let lab else { return }
    target = max(target, min(lab.total, lab.operation + perFrame))
  }

  var works: [any Work] { [Run(self)] }

  /// The run up to where the next picture shows it.
  private final class Run: Work {
    private let screen: LabScreen

    init(_ screen: LabScreen) { self.screen = screen }

    var progress: Double {
      guard let lab = screen.lab, screen.target > 0 else { return 1 }
      return Double(lab.operation) / Double(screen.target)
    }

    func step(budgetNanoseconds: UInt64) -> Bool {
      guard let lab = screen.lab else { return true }
      do throws(CommandError) {
        let isReached = try lab.advance(to: screen.target, budgetNanoseconds: budgetNanoseconds)
        if lab.isDone { screen.isRunning = false }
        return isReached
      } catch {
        screen.isRunning = false
        screen.lab = nil
        screen.desk.tell(error.description, error: true)
        return true
      }
    }
  }

  func cancel() -> Bool {
    guard let lab, isRunning || lab.operation < target else { return false }
    isRunning = false
    target = lab.operation
    desk.tell("stopped after \(lab.operation) of \(lab.total) operations; \(desk.key(.labRun)) goes on")
    return true
  }

  // MARK: Commands

  /// `:lab WORKLOAD POLICIES`; without words back to the last run.
  fileprivate func open(_ words: [String]) throws(CommandError) {
    guard let name = words.first else {
      guard lab != nil else {
        throw CommandError(
          "there is no run yet; \(CommandID.lab) WORKLOAD starts one, such as \(CommandID.lab) churn")
      }
      return desk.show(.lab)
    }
    let workload = try ValueType.workload.parse(name)
    var configuration = LabConfiguration(workload)
    if workload == .boot {
      configuration.size = LabTrace.exampleSize
      configuration.trace = LabTrace.example
    }
    // Two clusters that change places are seen where a cell is one cluster.
    if workload == .reorder { configuration.size = 1 << 20 }
    if words.count > 1 { configuration.policies = try ValueType.policies.parse(words[1]) }
    try start(configuration)
  }

  private func start(_ configuration: LabConfiguration) throws(CommandError) {
    let made = try Lab(configuration)
    lab = made
    desk.show(.lab)
    selected = 0
    target = 0
    perFrame = max(1, made.total / 100)
    // What is over in a moment waits for the steps.
    isRunning = made.total > 10
  }

  fileprivate var refusal: String? {
    isShown && lab != nil
      ? nil : "no run is open; \(CommandID.lab) WORKLOAD starts one, such as \(CommandID.lab) churn"
  }

  /// The run, if it is not over.
  private func openRun() throws(CommandError) -> Lab? {
    guard lab?.isDone != true else {
      throw CommandError("the run is over; \(desk.key(.labRestart)) begins again with the next seed")
    }
    return lab
  }

  fileprivate func run() throws(CommandError) {
    guard let lab = try openRun() else { return }
    isRunning.toggle()
    // What was asked for is not waited for.
    target = lab.operation
  }

  fileprivate func step(_ count: Int) throws(CommandError) {
    guard let lab = try openRun() else { return }
    // Keys that come faster than the pictures add up.
    let waiting = isRunning ? lab.operation : max(target, lab.operation)
    isRunning = false
    target = min(lab.total, waiting + min(max(1, count), lab.total))
  }

  fileprivate func pace(faster: Bool) {
    perFrame = faster ? min(lab?.total ?? 1, perFrame * 2) : max(1, perFrame / 2)
  }

  fileprivate func restart() throws(CommandError) {
    guard var configuration = lab?.configuration else { return }
    configuration.seed &+= 1
    let (selected, pace) = (selected, perFrame)
    try start(configuration)
    self.selected = selected
    perFrame = pace
  }

  static let keys: [CommandID: [KeyRule]] = [
    .nextPane: [KeyRule("Tab", in: .lab)], .previousPane: [KeyRule("S-Tab", in: .lab)],
  ]

  static let commands: [CommandSpec] = [
    CommandSpec(
      .lab, .lab,
      arguments: [
        CommandArgument("WORKLOAD", .workload, optional: true),
        CommandArgument("POLICY,...", .policies, optional: true),
      ], hint: "lab",
      help: """
        run a workload on several policies side by side, in memory: sequential, random4k, churn, database or \
        reorder; alone it goes back to the last run
        """,
      run: run { screen, command throws(CommandError) in try screen.open(command.arguments) }),
    CommandSpec(
      .labRun, .lab, keys: [KeyRule("Space", in: .lab)], hint: "run, pause", help: "run or pause",
      refusal: refusal { $0.refusal }, run: run { screen, _ throws(CommandError) in try screen.run() }),
    CommandSpec(
      .labStep, .lab, arguments: [CommandArgument("n", .count, optional: true)],
      keys: [KeyRule(".", in: .lab)], counts: true, hint: "step", help: "one operation on all images, or n",
      refusal: refusal { $0.refusal },
      run: run { screen, command throws(CommandError) in try screen.step(command.times) }),
    CommandSpec(
      .labFaster, .lab, keys: [KeyRule("+ =", in: .lab)], hint: "speed",
      help: "twice as many operations between two pictures", refusal: refusal { $0.refusal },
      run: run { screen, _ in screen.pace(faster: true) }),
    CommandSpec(
      .labSlower, .lab, keys: [KeyRule("-", in: .lab)], help: "half as many operations between two pictures",
      refusal: refusal { $0.refusal }, run: run { screen, _ in screen.pace(faster: false) }),
    CommandSpec(
      .labRestart, .lab, keys: [KeyRule("r", in: .lab)], hint: "next seed",
      help: "begin again with the next seed", refusal: refusal { $0.refusal },
      run: run { screen, _ throws(CommandError) in try screen.restart() }),
  ]
}

extension CommandID {
  static let lab = CommandID("lab")
  static let labRun = CommandID("lab-run")
  /// One request more.
  package static let labStep = CommandID("lab-step")
  static let labFaster = CommandID("lab-faster")
  static let labSlower = CommandID("lab-slower")
  static let labRestart = CommandID("lab-restart")
}

extension ValueType where Value == LabWorkload {
  /// `boot` is the recorded guest; only the command line names files.
  static var workload: ValueType {
    ValueType(candidates: { _ in LabWorkload.allCases.map(\.rawValue) }) {
      word throws(CommandError) in
      guard let workload = LabWorkload(rawValue: word) else {
        throw CommandError(
          "'\(Escaping.human(word))' is not a workload; there are "
            + LabWorkload.allCases.map(\.rawValue).joined(separator: ", "))
      }
      return workload
    }
  }
}

extension ValueType where Value == [MappingPolicy] {
  /// Policies with commas between them, each once.
  static var policies: ValueType {
    ValueType(candidates: { completing in
      let chosen = completing.prefix.split(separator: ",", omittingEmptySubsequences: false).dropLast()
        .map(String.init)
      let head = chosen.map { $0 + "," }.joined()
      return MappingPolicy.allCases.map(\.rawValue).filter { !chosen.contains($0) }.map { head + $0 }
    }) { word throws(CommandError) in try LabConfiguration.policies(word) }
  }
}
