// Faults on purpose: which requests to a file fail, with what error, and after which moments of whoever works on
// it. A plan is a list of rules; carried out, it remembers its state and which rules have been met.

/// What is to go wrong with a file.
package struct FaultPlan: Sendable {
  /// A request to a file that can fail.
  package enum Request: UInt8, Sendable, CaseIterable { case read, write, zero, punch, flush }

  /// A request that fails.
  package struct Fault: Sendable {
    /// Which kinds of requests it meets.
    package var requests: Set<Request> = Set(Request.allCases)
    /// The host's error number; 0 lets the request through.
    package var errno: Int32 = 5
    /// Only a request for this byte of the file is met; nil for any, also those without bytes.
    package var offset: UInt64?
    /// Met once, it is gone for good.
    package var isOnce = false

    package init() {}
  }

  /// What follows from a moment.
  package enum Action: Sendable {
    /// From the moment on requests fail, until another one with faults of its own.
    case fail(Fault)
    /// The plan is in another state.
    case enter(state: Int)
  }

  /// A moment, and what follows from it.
  package struct Rule: Sendable {
    /// The number of the moment; what it means is known to whoever announces it.
    package var moment: UInt8
    /// Holds in this state only; 0 for all. A plan begins in state 1.
    package var state = 0
    package var action: Action

    package init(moment: UInt8, state: Int, _ action: Action) {
      self.moment = moment
      self.state = state
      self.action = action
    }
  }

  /// What the file is called in messages; the option list it came from if it has no shorter name.
  package var name: String
  package var rules: [Rule] = []
  /// Requests to the file are multiples of so many bytes, a power of two; 1 leaves them as they are.
  package var alignment: UInt64 = 1
  /// Longer requests are made in pieces of so many bytes; nil for as long as they are.
  package var longest: UInt64?

  package init(name: String) { self.name = name }
}

/// A plan that is being carried out.
package struct FaultCourse {
  private var rules: [(id: Int, rule: FaultPlan.Rule)]
  private var state = 1
  /// The rules that requests are held against, first match first.
  private var active: [(id: Int, fault: FaultPlan.Fault)] = []

  package init(_ plan: FaultPlan) {
    rules = plan.rules.enumerated().map { ($0.offset, $0.element) }
  }

  /// A moment has come. All its rules look at the state that was before it.
  package mutating func reach(_ moment: UInt8) {
    guard rules.contains(where: { $0.rule.moment == moment }) else { return }
    var next = state
    var met: [(id: Int, fault: FaultPlan.Fault)] = []
    // Of two new states the one of the earlier rule holds.
    for (id, rule) in rules.reversed()
    where rule.moment == moment && (rule.state == 0 || rule.state == state) {
      switch rule.action {
      case .fail(let fault): met.append((id, fault))
      case .enter(let state): next = state
      }
    }
    if !met.isEmpty { active = met.reversed() }
    state = next
  }

  /// The error that a request ends with; nil if it goes through. `count` is 0 for one without bytes.
  package mutating func error(of request: FaultPlan.Request, at offset: UInt64, count: UInt64) -> Int32? {
    let index = active.firstIndex { _, fault in
      guard fault.requests.contains(request) else { return false }
      guard let place = fault.offset else { return true }
      return count > 0 && place >= offset && place - offset < count
    }
    guard let index, active[index].fault.errno != 0 else { return nil }
    let (id, fault) = active[index]
    if fault.isOnce {
      active.remove(at: index)
      rules.removeAll { $0.id == id }
    }
    return fault.errno
  }
}
