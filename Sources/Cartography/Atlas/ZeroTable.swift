// Large tables of numbers of which few are ever set.

import Glibc

/// Numbers that are zero until they are set. The host gives memory only to the pages in which something is set, so
/// that the first picture of a large image does not wait for megabytes of zeroes.
@safe struct ZeroTable<Number: FixedWidthInteger & BitwiseCopyable>: ~Copyable {
  private let memory: UnsafeMutablePointer<Number>
  let count: Int

  init(count: Int) {
    guard let memory = unsafe calloc(max(1, count), MemoryLayout<Number>.stride) else {
      fatalError("out of memory for a table of \(count) numbers")
    }
    unsafe self.memory = memory.bindMemory(to: Number.self, capacity: max(1, count))
    self.count = count
  }

  deinit { unsafe free(memory) }

  subscript(index: Int) -> Number {
    @inline(__always) get {
      precondition(index >= 0 && index < count)
      return unsafe memory[index]
    }
    @inline(__always) set {
      precondition(index >= 0 && index < count)
      unsafe memory[index] = newValue
    }
  }
}
