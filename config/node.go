package config

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml/ast"
)

// nodeText returns the text of a node that is text, quoted or not.
func nodeText(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

// nodeUint returns the number of a node that is a whole number, 0 or more.
func nodeUint(node ast.Node) (uint64, bool) {
	n, ok := node.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	switch v := n.Value.(type) {
	case uint64:
		return v, true
	case int64:
		return uint64(v), v >= 0
	}
	return 0, false
}

// nodeList returns the texts of a list.
func nodeList(node ast.Node) ([]string, error) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		return nil, errors.New("must be a list: [a, b]")
	}
	var l []string
	for i, entry := range seq.Values {
		s, ok := nodeText(entry)
		if !ok {
			return nil, fmt.Errorf("entry %d must be text: put it in quotes", i+1)
		}
		l = append(l, s)
	}
	return l, nil
}
