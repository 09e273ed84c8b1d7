// The lab in the explorer: starting a run, letting it go on between two pictures, stepping, and beginning
// again. Nothing here waits: the loop calls in slices.

import Cartography
import Qcow

extension Explorer {
  /// The lab changes the picture by itself as time goes by; then ``beginFrame()`` is called for every picture.
  package var isAnimating: Bool { ui.screen == .lab && ui.lab.isRunning && lab != nil }

  /// Lets the lab go on after a picture was seen.
  package func beginFrame() {
    guard isAnimating, let lab else { return }
    ui.lab.target = max(ui.lab.target, min(lab.total, lab.operation + ui.lab.perFrame))
  }

  /// Goes on for about the given time; true if the picture can be seen.
  func stepLab(budgetNanoseconds: UInt64) -> Bool {
    guard ui.screen == .lab, let lab else { return true }
    do throws(CommandError) {
      let isReached = try lab.advance(to: ui.lab.target, budgetNanoseconds: budgetNanoseconds)
      if lab.isDone { ui.lab.isRunning = false }
      return isReached
    } catch {
      ui.lab.isRunning = false
      self.lab = nil
      tell(error.description, error: true)
      return true
    }
  }

  /// `:lab WORKLOAD POLICIES`; without words back to the last run.
  func openLab(_ words: [String]) throws(CommandError) {
    guard let name = words.first else {
      guard lab != nil else {
        throw CommandError("there is no run yet; :lab WORKLOAD starts one, such as :lab churn")
      }
      ui.screen = .lab
      return
    }
    guard let workload = LabWorkload(rawValue: name) else {
      throw CommandError(
        "'\(Escaping.human(name))' is not a workload; there are "
          + LabWorkload.allCases.map(\.rawValue).joined(separator: ", "))
    }
    guard workload != .boot else {
      throw CommandError("the workload 'boot' needs a trace: 'qatlas lab --trace FILE' replays one")
    }
    var configuration = LabConfiguration(workload)
    // Two clusters that change places are seen where a cell is one cluster.
    if workload == .reorder { configuration.size = 1 << 20 }
    if words.count > 1 { configuration.policies = try LabConfiguration.policies(words[1]) }
    try start(configuration)
  }

  private func start(_ configuration: LabConfiguration) throws(CommandError) {
    let made = try Lab(configuration)
    lab = made
    ui.screen = .lab
    ui.lab = LabState()
    ui.lab.perFrame = max(1, made.total / 100)
    // What is over in a moment waits for the steps.
    ui.lab.isRunning = made.total > 10
  }

  private func open() throws(CommandError) -> Lab {
    guard ui.screen == .lab, let lab else {
      throw CommandError("no run is open; :lab WORKLOAD starts one, such as :lab churn")
    }
    return lab
  }

  func runLab() throws(CommandError) {
    let lab = try open()
    guard !lab.isDone else { throw CommandError("the run is over; r begins again with the next seed") }
    ui.lab.isRunning.toggle()
    // What was asked for is not waited for.
    ui.lab.target = lab.operation
  }

  func stepLab(_ count: Int) throws(CommandError) {
    let lab = try open()
    guard !lab.isDone else { throw CommandError("the run is over; r begins again with the next seed") }
    // Keys that come faster than the pictures add up.
    let waiting = ui.lab.isRunning ? lab.operation : max(ui.lab.target, lab.operation)
    ui.lab.isRunning = false
    ui.lab.target = min(lab.total, waiting + min(max(1, count), lab.total))
  }

  func paceLab(faster: Bool) throws(CommandError) {
    let lab = try open()
    let pace = ui.lab.perFrame
    ui.lab.perFrame = faster ? min(lab.total, pace * 2) : max(1, pace / 2)
  }

  func restartLab() throws(CommandError) {
    let old = try open()
    var configuration = old.configuration
    configuration.seed &+= 1
    let selected = ui.lab.selected
    let pace = ui.lab.perFrame
    try start(configuration)
    ui.lab.selected = selected
    ui.lab.perFrame = pace
  }

  func moveInLab(_ step: Int) {
    let count = max(1, lab?.runs.count ?? 1)
    ui.lab.selected = (ui.lab.selected + step + count) % count
  }
}
