// Work that goes on in slices between two key presses: scans, plots, searches, the lab, a defragmentation.
// All of it has one signature, and one scheduler gives it its time.

/// Work that can be done a slice at a time.
package protocol Work: AnyObject {
  /// How far it is, 0 ... 1.
  var progress: Double { get }
  /// Goes on for about the given time, at least by one small piece; true when nothing is left.
  @discardableResult
  func step(budgetNanoseconds: UInt64) -> Bool
}

/// Gives works their time.
package enum Scheduler {
  /// Goes on with the first work that is not done, and with the ones behind it for as long as there is time.
  /// So the most urgent stands first.
  ///
  /// - Returns: true when nothing is left to do in any of them.
  package static func step(_ works: [any Work], budgetNanoseconds: UInt64) -> Bool {
    let clock = ContinuousClock()
    let end = clock.now.advanced(by: .nanoseconds(Int64(clamping: budgetNanoseconds)))
    for work in works {
      let left = clock.now.duration(to: end).components
      let nanoseconds = left.seconds * 1_000_000_000 + left.attoseconds / 1_000_000_000
      // What is done already says so at no cost, even when the time is over.
      guard work.step(budgetNanoseconds: UInt64(max(0, nanoseconds))) else { return false }
    }
    return true
  }

  /// Does a work to its end.
  package static func finish(_ work: some Work) { while !work.step(budgetNanoseconds: 100_000_000) {} }
}

extension Atlas: Work {}
extension DataFileMap: Work {
  /// Of the disk's tables, which take most of the time.
  package var progress: Double { isDone ? 1 : tableProgress }
}
extension FragmentationScan: Work {}
extension DotPlotScan: Work {}
