// Bytes as people read them: the vectors of these tests are written in hexadecimal digits, as a dump
// of an image shows them.

import QcowFormat
import Testing

/// The bytes of hexadecimal digits; blanks and line ends do not count.
func bytes(_ hex: String) -> [UInt8] {
  let digits = hex.compactMap(\.hexDigitValue)
  precondition(digits.count % 2 == 0, "half a byte in a vector")
  return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

func hex(_ bytes: some Sequence<UInt8>) -> String {
  bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
}

/// A vector with zeroes behind it, as far as the header is read.
func padded(_ vector: [UInt8], to count: Int) -> [UInt8] {
  vector + [UInt8](repeating: 0, count: max(0, count - vector.count))
}

/// The code of the error that `body` throws; nil if it throws none.
func code(_ body: () throws -> Void) -> FormatError.Code? {
  do {
    try body()
    return nil
  } catch let error as FormatError {
    #expect(!error.description.isEmpty)
    return error.code
  } catch {
    Issue.record("\(error) is no error of the format")
    return nil
  }
}
