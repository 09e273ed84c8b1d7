// How time grows with the work: the same race at an eighth, at its size and at eight times that.

import Glibc

struct Growth {
  /// Processor seconds of qatlas, at each scale.
  var seconds: [Double]
  static let scales = [Scale(parts: 8), Scale(parts: 64), Scale(parts: 512)]
  /// What a command costs that has nothing to do; below it a figure says nothing about growth.
  static let least = 0.01

  /// Time is the size to this power, from the smallest size that takes long enough to be told from the start of a
  /// process; nil if only one does.
  var exponent: Double? {
    guard let first = seconds.firstIndex(where: { $0 >= Self.least }), first < seconds.count - 1,
      let last = seconds.last
    else { return nil }
    let times = Self.scales[seconds.count - 1].parts / Self.scales[first].parts
    return log(last / seconds[first]) / log(Double(times))
  }

  /// Runs the race of that name at each scale, up to `largest`; the median of three.
  static func of(_ name: String, _ lab: Lab, largest: Int) throws(BenchError) -> Growth {
    var growth = Growth(seconds: [])
    for scale in scales.prefix(largest) {
      guard let race = RaceList.all(scale).first(where: { $0.name == name }) else { continue }
      try lab.clear()
      try race.prepare(lab)
      var costs: [Double] = []
      for _ in 0..<3 {
        try race.reset(lab)
        costs.append(try race.ours(lab).run(output: lab.path("ours.out"), repeats: race.repeats).processor)
      }
      growth.seconds.append(Result.median(costs))
    }
    return growth
  }
}
