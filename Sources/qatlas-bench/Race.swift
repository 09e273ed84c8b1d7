// A race: the same work done by another program and by qatlas on files that start out equal, several times
// in turn, and the ratio of the medians.

/// What is raced. A race knows its work at every size, so that it is also what growth and instructions are
/// measured on.
struct Race {
  var name: String
  /// One line on what it shows.
  var purpose: String
  /// How many times as fast as each genuine tool qatlas is meant to be; nil where none of them does such work.
  var target: Double?
  /// How many times as fast as an earlier build it is meant to be, where that says more.
  var gain: Double?
  /// What the work cannot be faster than, or is not meant to be slower than by much.
  var limit: Limit?
  /// What the targets are about.
  var measure = Measure.wall
  /// KiB that qatlas may need.
  var mostMemory: Int?
  /// How often a run does the work, so that small work can be timed.
  var repeats = 1
  /// Makes what the runs start from; called once.
  var prepare: (_ lab: Lab) throws(BenchError) -> Void
  /// Brings back the start of a run; not timed.
  var reset: (_ lab: Lab) throws(BenchError) -> Void = { (_: Lab) throws(BenchError) in }
  var genuine: ((_ lab: Lab) -> Invocation)?
  var ours: (_ lab: Lab) -> Invocation
  /// Everything written is on the disk before each side begins.
  var rests = false
  /// MiB of new files that a run makes. So much of the host's memory is written and given back before each side
  /// begins: under a hypervisor the first use of memory can cost more than the copy.
  var newMebibytes = 0
  /// Files of the genuine tool and of qatlas that must hold the same bytes afterwards.
  var compared: (genuine: String, ours: String)?
  /// Output that must be the same, byte for byte.
  var comparesOutput = false
  /// The images `genuine` and `ours` must read the same, as the genuine tool sees it.
  var comparesDisks = false
  /// Flushes are counted as well, in a run of its own.
  var countsFlushes = false
}

/// What a ratio is made of.
enum Measure: String {
  case wall = "wall"
  case processor = "processor time"
}

/// Another program that does a part of the work, or the same work in another way.
struct Limit {
  var name: String
  /// The least ratio of its time to that of qatlas.
  var least: Double
  var invocation: (_ lab: Lab) -> Invocation
}

extension Race {
  /// Everyone this race can be run against with these judges and this build of before.
  func opponents(judges: [Judge], before: String?) -> [Opponent] {
    var result: [Opponent] = []
    if let genuine {
      for judge in judges {
        result.append(
          Opponent(kind: .judge, name: judge.name, target: target) { lab in judge.invocation(genuine(lab)) })
      }
    }
    if let limit {
      result.append(
        Opponent(kind: .limit, name: limit.name, target: limit.least, invocation: limit.invocation))
    }
    if let before {
      result.append(
        Opponent(kind: .before, name: "before", target: gain) { [ours] lab in
          var earlier = lab
          earlier.qatlas = before
          return ours(earlier)
        })
    }
    return result
  }
}
