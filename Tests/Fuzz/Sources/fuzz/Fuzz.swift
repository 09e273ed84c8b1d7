// The door through which libFuzzer comes: its own `main` calls these two functions. The environment says
// which target the bytes go to.

import FuzzTargets
import Glibc

/// The target that `QATLAS_FUZZ` names.
let target: FuzzTarget = {
  let name = unsafe getenv("QATLAS_FUZZ").map { unsafe String(cString: $0) } ?? ""
  guard let target = FuzzTarget(rawValue: name) else {
    let names = FuzzTarget.allCases.map(\.rawValue).joined(separator: ", ")
    fail("QATLAS_FUZZ is '\(name)', but must be one of \(names)")
  }
  return target
}()

func fail(_ text: String) -> Never {
  let line = Array("fuzz: \(text)\n".utf8)
  _ = unsafe write(2, line, line.count)
  exit(2)
}

/// With `QATLAS_FUZZ_SEEDS` the inputs to begin with are written into that folder, and that is all.
@_cdecl("LLVMFuzzerInitialize")
public func initialize(
  _ count: UnsafeMutablePointer<CInt>,
  _ arguments: UnsafeMutablePointer<UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>?>
) -> CInt {
  guard let folder = unsafe getenv("QATLAS_FUZZ_SEEDS").map({ unsafe String(cString: $0) }) else { return 0 }
  do {
    for seed in try target.seeds() {
      let path = "\(folder)/seed-\(seed.name)"
      guard let file = unsafe fopen(path, "w") else { fail("cannot write '\(path)'") }
      let written = unsafe fwrite(seed.bytes, 1, seed.bytes.count, file)
      guard unsafe fclose(file) == 0, written == seed.bytes.count else { fail("cannot write '\(path)'") }
    }
  } catch {
    fail("the seeds cannot be made: \(error)")
  }
  exit(0)
}

/// One input. What is found ends the process, which is how libFuzzer learns of it.
@_cdecl("LLVMFuzzerTestOneInput")
public func testOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = unsafe [UInt8](UnsafeBufferPointer(start: bytes, count: count))
  do { try target.run(input) } catch { fatalError("\(error)") }
  return 0
}
