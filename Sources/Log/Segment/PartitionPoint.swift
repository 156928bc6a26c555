/// How many of `count` ordered values stand before a place: `isBefore` is true for the first ones and false for the others.
func partitionPoint<E>(_ count: Int, _ isBefore: (Int) throws(E) -> Bool) throws(E) -> Int {
    var low = 0
    var high = count
    while low < high {
        let middle = (low + high) / 2
        if try isBefore(middle) { low = middle + 1 } else { high = middle }
    }
    return low
}

extension RandomAccessCollection where Index == Int {
    /// The index of the first element for which `isBefore` is false; the elements for which it is true come first.
    package func partitionPoint(_ isBefore: (Element) -> Bool) -> Int {
        startIndex + Log.partitionPoint(count) { isBefore(self[startIndex + $0]) }
    }
}
