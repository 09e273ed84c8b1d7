// Work that needs nothing but its own bytes, on all cores of the host: clusters that are packed or expanded. What
// comes of it is the same as one after the other, and nothing else of the engine runs beside it.

import CSys

/// The cores of the host.
enum Cores {
  private struct Work {
    let body: (Int) -> Void
  }

  /// Calls `body` once for every number below `count`, several at a time, and returns when all of them are done.
  ///
  /// A call may change only what no other call looks at.
  static func each(_ count: Int, _ body: (Int) -> Void) {
    guard count > 1 else { return count == 1 ? body(0) : () }
    withoutActuallyEscaping(body) { body in
      var work = Work(body: body)
      unsafe withUnsafeMutablePointer(to: &work) { work in
        unsafe csys_each(
          count,
          { context, index in unsafe context?.assumingMemoryBound(to: Work.self).pointee.body(index) }, work)
      }
    }
  }
}
